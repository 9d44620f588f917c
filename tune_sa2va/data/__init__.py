"""Reads data sets in the forms that users have, checks them, splits them by group. Only this room decodes images."""

from tune_sa2va.data.check import CheckReport, check
from tune_sa2va.data.dataset import Dataset, Fault, Problem, Severity
from tune_sa2va.data.decoding import MAX_PIXELS, image_size
from tune_sa2va.data.endings import IMAGE_SUFFIXES
from tune_sa2va.data.fingerprint import fingerprint
from tune_sa2va.data.images import NotTwoValuedError, load_image, load_mask_file
from tune_sa2va.data.outlines import rasterise
from tune_sa2va.data.readers import open_dataset
from tune_sa2va.data.sample import DEFAULT_TEXT, Polygons, Sample, Split
from tune_sa2va.data.split import split_by_group
from tune_sa2va.data.truth import SizeMismatchError, load_truth

__all__ = [
    "DEFAULT_TEXT",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "CheckReport",
    "Dataset",
    "Fault",
    "NotTwoValuedError",
    "Polygons",
    "Problem",
    "Sample",
    "Severity",
    "SizeMismatchError",
    "Split",
    "check",
    "fingerprint",
    "image_size",
    "load_image",
    "load_mask_file",
    "load_truth",
    "open_dataset",
    "rasterise",
    "split_by_group",
]
