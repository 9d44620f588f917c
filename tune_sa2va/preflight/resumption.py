"""Whether an interrupted search can go on: its base model, its images, its tables and its copy are there, and whole."""

from tune_sa2va.data.split_file import read_split
from tune_sa2va.preflight.base_model import examine_model
from tune_sa2va.preflight.copy_place import examine_copy
from tune_sa2va.results.records import read_epochs, read_trials
from tune_sa2va.results.settings import SearchSettings


def examine_results(settings: SearchSettings) -> None:
    """Whether a search can go on: its base model, its images, its tables and its storage are there, and whole.

    Raises:
        UserError: one is not.
    """
    examine_model(settings.model.model)
    read_split(settings.folder, settings.data)
    read_trials(settings.folder)
    read_epochs(settings.folder)
    if settings.storage is not None:
        examine_copy(settings, settings.storage)
