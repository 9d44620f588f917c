"""Endings of file names, packed pictures among them; what is left of a name is what may be a patient's."""

from pathlib import PurePosixPath

import pytest

from tune_sa2va.data.codes import hide, spellings
from tune_sa2va.data.endings import image_ending, image_stem


@pytest.mark.parametrize(
    ("name", "stem", "ending"),
    [
        ("a/im0001.ppm.gz", "im0001", ".ppm.gz"),
        ("im0001.ah.PPM.GZ", "im0001.ah", ".ppm.gz"),
        ("im0001.ah.ppm", "im0001.ah", ".ppm"),
        ("frame.1.PNG", "frame.1", ".png"),
        ("volume.nii.gz", "volume.nii", ".gz"),
        ("README", "README", ""),
        (".ppm.gz", ".ppm", ".gz"),
    ],
)
def test_endings_and_stems(name: str, stem: str, ending: str) -> None:
    path = PurePosixPath(name)
    assert (image_stem(path), image_ending(path)) == (stem, ending)


def test_the_name_before_a_double_ending_is_hidden() -> None:
    row = {"name": "WangLi_88.ppm.gz", "group": "WangLi_88.ppm.gz", "image_code": "img-1", "group_code": "grp-1"}
    assert hide("masks/WangLi_88 and WangLi_88.ppm.gz", spellings([row])) == "masks/img-1 and img-1"
