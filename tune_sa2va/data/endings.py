"""What a file's name says: the endings of the pictures that we read, and the name without its ending.

The Netpbm formats have no compression of their own, and STARE is distributed as `im0001.ppm.gz`, so theirs may be
packed. Other formats are not read packed: nobody distributes them so.
"""

from pathlib import PurePath

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})

PACKED_SUFFIXES = frozenset({".ppm.gz", ".pgm.gz", ".pbm.gz"})

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".pbm"}
    | PACKED_SUFFIXES
    | DICOM_SUFFIXES
)
"""File name endings that we read, in lower case."""


def image_ending(path: PurePath) -> str:
    """In lower case: `.png`, `.ppm.gz`; of a file that is no image by its name, its last ending."""
    both = "".join(path.suffixes[-2:]).lower()
    return both if both in PACKED_SUFFIXES else path.suffix.lower()


def image_stem(path: PurePath) -> str:
    """The file's name without `image_ending`: `im0001` of `im0001.ppm.gz`, `im0001.ah` of `im0001.ah.ppm`."""
    return path.name[: len(path.name) - len(image_ending(path))]
