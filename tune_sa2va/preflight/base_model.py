"""The base model that a user names, checked before anything starts; a lane would report a fault minutes later."""

from pathlib import Path


def examine_model(model: str) -> str:
    """The name of a preset as it is, or the absolute path of a checkpoint's folder.

    The path is absolute because workers have other working directories.

    Raises:
        CheckpointError: there is no such model, or its weights or tokenizer cannot be used.
    """
    from tune_sa2va.model.checkpoint import check_weights  # imports torch, so it comes after cheap checks
    from tune_sa2va.model.dims import read_dims
    from tune_sa2va.model.locate import model_folder, preset_names
    from tune_sa2va.model.prompt import Prompter

    if model in preset_names():
        return model
    folder: Path = model_folder(model)
    read_dims(folder)
    check_weights(folder)
    Prompter(folder)
    return str(folder.resolve())
