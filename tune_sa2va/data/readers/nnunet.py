"""Reads nnU-Net's layout: `dataset.json` with labels, `imagesTr/CASE_0000.png` and `labelsTr/CASE.png`.

Cases must be 2D pictures with one file each (which may be RGB); volumes and cases of several files are refused. Only
the training cases are read, because nnU-Net keeps no labels of the others. A label with several values is their union;
`background` is not a target.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tune_sa2va.data.dataset import Dataset, Fault, Problem
from tune_sa2va.data.endings import image_ending, image_stem
from tune_sa2va.data.labels import labels_of_nnunet
from tune_sa2va.data.readers.json_file import load_json
from tune_sa2va.data.readers.naming import (
    group_from_name,
    image_files,
    in_order,
    leads_out,
    name_in,
    outside_problem,
    plain,
    unread_files,
)
from tune_sa2va.data.sample import Sample
from tune_sa2va.errors import DataError

DATASET_FILE, IMAGES_TR, LABELS_TR = "dataset.json", "imagesTr", "labelsTr"
_FIRST_CHANNEL = "_0000"


def is_nnunet(root: Path) -> bool:
    """Whether a folder has nnU-Net's layout."""
    return (root / DATASET_FILE).is_file() and (root / IMAGES_TR).is_dir()


def load_about(root: Path) -> Mapping[str, Any]:
    """The content of `dataset.json`. Raises DataError if it is not an object with labels."""
    about = load_json(root / DATASET_FILE)
    if not isinstance(about, dict) or "labels" not in about:
        raise DataError(f"{root / DATASET_FILE}: must be an object with labels. Write it as nnU-Net does.")
    return about


def read_nnunet(root: Path, *, allow_outside: bool) -> Dataset:
    """The training cases as samples, one for each label.

    Raises:
        DataError: `dataset.json` cannot be used, or the cases are volumes or have several channels.
    """
    about = load_about(root)
    labels = labels_of_nnunet(about["labels"], root / DATASET_FILE)
    ending = str(about.get("file_ending", ""))[:20]
    if ending.endswith((".nii.gz", ".nii", ".mha", ".nrrd")):
        raise DataError(f"{root}: holds volumes ({ending}), but only pictures are read. Save their slices as PNG.")
    files = image_files(root / IMAGES_TR)
    if [path for path in files if image_stem(path).endswith("_0001")]:
        raise DataError(f"{root}: a case must have one file, and some have several. Save each as one RGB picture.")
    maps = {plain(image_stem(path)): path for path in image_files(root / LABELS_TR)}
    samples, problems = list[Sample](), [*unread_files(root, root / IMAGES_TR), *unread_files(root, root / LABELS_TR)]
    for path in files:
        case, name = plain(image_stem(path)).removesuffix(_FIRST_CHANNEL), name_in(root, path)
        found = maps.pop(case, None)
        if found is None:
            message = f"Needs a label map {LABELS_TR}/{case} with the ending of an image. Add it."
            problems.append(Problem(fault=Fault.MISSING_MASK, file=name, message=message, names=(case,)))
        elif not allow_outside and (outside := [each for each in (path, found) if leads_out(root, each)]):
            problems.append(outside_problem(name, name_in(root, outside[0])))
        else:
            group = group_from_name(f"{case}{image_ending(path)}").removesuffix(image_ending(path))
            samples += labels.of(Sample(name=name, image=path, mask=found, group=group), found)
    for path in maps.values():
        message = (
            f"No image in {IMAGES_TR}/ is called {image_stem(path)}{_FIRST_CHANNEL}. Add it, or remove the label map."
        )
        names = (f"{image_stem(path)}{_FIRST_CHANNEL}",)
        problems.append(Problem(fault=Fault.EXTRA_MASK, file=name_in(root, path), message=message, names=names))
    return Dataset(root=root, samples=in_order(samples), problems=tuple(problems))
