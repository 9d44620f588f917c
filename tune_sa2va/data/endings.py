"""File name endings of the pictures that are read.

Netpbm files may be packed: the formats have no compression of their own, and STARE is distributed as `im0001.ppm.gz`.
Other formats are not read packed, because nobody distributes them that way.
"""

from pathlib import PurePath

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})

PACKED_SUFFIXES = frozenset({".ppm.gz", ".pgm.gz", ".pbm.gz"})

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".pbm"}
    | PACKED_SUFFIXES
    | DICOM_SUFFIXES
)
"""All file name endings that are read, in lower case."""


def image_ending(path: PurePath) -> str:
    """The ending in lower case, such as `.png` or `.ppm.gz`; the last suffix for any other file."""
    both = "".join(path.suffixes[-2:]).lower()
    return both if both in PACKED_SUFFIXES else path.suffix.lower()


def image_stem(path: PurePath) -> str:
    """The file's name without `image_ending`: `im0001` of `im0001.ppm.gz`, `im0001.ah` of `im0001.ah.ppm`."""
    return path.name[: len(path.name) - len(image_ending(path))]
