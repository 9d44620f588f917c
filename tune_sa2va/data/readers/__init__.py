"""Reads data sets in many formats into one form. `open_dataset` is the only entry point.

A source is a folder, or the path of a manifest or of an annotations file in it. In a folder the first of these counts:

1. `manifest.csv`, 2. `manifest.parquet` (see `manifest.py`), 3. `annotations.json` (see `annotations.py`, or `coco.py`
where it holds COCO's lists), 4. `instances.json`, `_annotations.coco.json` (`coco.py`), 5. nnU-Net's `imagesTr/`
(`nnunet.py`), 6. `images/` with `masks/` (`folder.py`), 7. DRIVE, STARE, CHASE_DB1 (`retinal.py`), 8. LabelMe's files
(`labelme.py`).

A manifest is written on purpose, so it comes before files that tools leave behind.

Readers list files and check the lists; no picture is decoded here. A fault of one file or entry becomes a `Problem`, so
that all of them are reported at once. Only a list that cannot be read at all raises an error.

No file outside the data set's folder is accepted, whether named by `..`, by an absolute path or through a link, unless
the caller allows it.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from tune_sa2va.config import OutlineRule
from tune_sa2va.data.dataset import Dataset
from tune_sa2va.data.groups import group_rule, grouped
from tune_sa2va.data.labels import labelled, parse_labels
from tune_sa2va.data.readers.annotations import read_annotations
from tune_sa2va.data.readers.coco import is_coco, read_coco
from tune_sa2va.data.readers.folder import MASKS, read_folder
from tune_sa2va.data.readers.json_file import load_json
from tune_sa2va.data.readers.labelme import labelme_files, read_labelme
from tune_sa2va.data.readers.manifest import read_manifest
from tune_sa2va.data.readers.naming import IMAGES, leads_out
from tune_sa2va.data.readers.nnunet import is_nnunet, read_nnunet
from tune_sa2va.data.readers.retinal import read_retinal
from tune_sa2va.data.rules import Rules
from tune_sa2va.data.sample import Polygons, Sample
from tune_sa2va.errors import DataError

_LISTS = ("manifest.csv", "manifest.parquet", "annotations.json", "instances.json", "_annotations.coco.json")
_NO_RULES = Rules()


def open_dataset(source: str | Path, *, allow_outside: bool = False, rules: Rules = _NO_RULES) -> Dataset:
    """The data set at `source`: a folder, or a .csv, .parquet or .json file in the data set's folder.

    allow_outside: accept images and masks outside that folder. rules: what the user says in addition to the files.

    Raises:
        DataError: no such path, no known format, or a list that cannot be read at all.
        UserError: a rule cannot be used.
    """
    rule = None if rules.group_by is None else group_rule(rules.group_by)
    path = Path(os.path.expanduser(source))  # noqa: PTH111 (Path.expanduser raises where there is no such user)
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises on a name of 300 characters)
        raise DataError(f"{path}: there is no such file or folder. Check the path.")
    # Absolute, since workers have other working directories. A list that is a link belongs to the folder of the link.
    path = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
    try:
        options = _Options(allow_outside=allow_outside, keep_absent=rules.absent == "keep")
        dataset = _read_folder(path, options) if path.is_dir() else _read_list(path, options)
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read ({error.strerror}). Make it readable.") from error
    if not dataset.samples and not dataset.problems:
        raise DataError(f"{path}: holds no images. Put images in images/ and masks in masks/, or write a manifest.csv.")
    dataset = replace(dataset, keeps_absent=rules.absent == "keep")
    if rules.labels is not None:
        dataset = replace(dataset, samples=labelled(dataset.samples, parse_labels(rules.labels)))
    if rules.outlines is not None:
        dataset = replace(dataset, samples=tuple(_drawn_by(rules.outlines, sample) for sample in dataset.samples))
    return dataset if rule is None else grouped(dataset, rule)


def _drawn_by(rule: OutlineRule, sample: Sample) -> Sample:
    return replace(sample, mask=replace(sample.mask, rule=rule)) if isinstance(sample.mask, Polygons) else sample


@dataclass(frozen=True, kw_only=True, slots=True)
class _Options:
    allow_outside: bool
    keep_absent: bool


def _read_folder(folder: Path, options: _Options) -> Dataset:
    listed = next((folder / name for name in _LISTS if (folder / name).is_file()), None)
    if listed is not None:
        if leads_out(folder, listed) and not options.allow_outside:
            raise DataError(
                f"{listed}: is a link that leads out of the folder. Copy the file in, or give --allow-outside."
            )
        return _read_list(listed, options)
    if is_nnunet(folder):
        return read_nnunet(folder, allow_outside=options.allow_outside)
    if not all((folder / name).is_dir() for name in (IMAGES, MASKS)):
        if retinal := read_retinal(folder, allow_outside=options.allow_outside):
            return retinal
        if files := labelme_files(folder):
            return read_labelme(folder, files, allow_outside=options.allow_outside, keep_absent=options.keep_absent)
    return read_folder(folder, allow_outside=options.allow_outside)


def _read_list(path: Path, options: _Options) -> Dataset:
    if not path.is_file():
        raise DataError(f"{path}: is neither a file nor a folder. Give a folder, or a .csv, .parquet or .json file.")
    allow_outside, keep_absent = options.allow_outside, options.keep_absent
    match path.suffix.lower():
        case ".csv" | ".parquet":
            return read_manifest(path, allow_outside=allow_outside)
        case ".json":
            content = load_json(path)
            if is_coco(content):
                return read_coco(path, content, allow_outside=allow_outside, keep_absent=keep_absent)
            return read_annotations(path, content, allow_outside=allow_outside, keep_absent=keep_absent)
        case other:
            raise DataError(
                f"{path}: a data set is a folder or a .csv, .parquet or .json file, got '{other}'. Give one of these."
            )
