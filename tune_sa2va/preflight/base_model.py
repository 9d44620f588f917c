"""The base model that a user names, examined before anything starts: a lane would find out minutes later."""

from pathlib import Path


def examine_model(model: str) -> str:
    """A preset's name, or an absolute folder: workers have other working directories.

    Raises:
        CheckpointError: no such model, or its weights or its tokenizer cannot be used.
    """
    from tune_sa2va.model.checkpoint import check_weights  # imports torch: after the cheap checks of other flags
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
