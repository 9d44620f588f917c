"""The modules that a search space trains: every choice is checked against the model before the search starts."""

from itertools import product

from tune_sa2va.config import EncoderSettings
from tune_sa2va.errors import SpaceError
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.search_space import SearchSpace


def examine_targets(settings: SearchSettings) -> None:
    """Checks that each choice of `lora.target_modules` can be trained together with each of `train.full_modules`, and
    that the model's vision tower has the modules that `encoder.vision` names.

    Raises:
        SpaceError: a choice names no module, a module that gets no adapter, or one that no loss reaches. Its trials
            would fail.
    """
    from tune_sa2va.model.checkpoint import outline_of  # imports torch, so it comes after cheap checks
    from tune_sa2va.model.locate import model_folder
    from tune_sa2va.model.reach import is_reached
    from tune_sa2va.model.targets import find_encoder_targets, find_targets

    space = settings.search_space
    outline, lm_loss = outline_of(model_folder(settings.model.model)), _always_has_lm_loss(space)
    for vision in space.possible("encoder.vision"):
        try:
            find_encoder_targets(outline, EncoderSettings(vision=vision))
        except SpaceError as error:
            raise SpaceError(f"{space.source}: {error}") from error
    for targets, full in product(space.possible("lora.target_modules"), space.possible("train.full_modules")):
        where = f"{space.source}: lora.target_modules cannot be {list(targets)}"
        where += f" together with train.full_modules {list(full)}" if full else ""
        try:
            found = find_targets(outline, targets, full)
        except SpaceError as error:
            raise SpaceError(f"{where}: {error}") from error
        unreached = [target.reference for target in found if not is_reached(target.native, lm_loss=lm_loss)]
        if unreached:
            raise SpaceError(
                f"{where}: no loss reaches {unreached[0]}, so a trial that trains it would fail. Leave it out."
            )


def _always_has_lm_loss(space: SearchSpace) -> bool:
    dimension = space.dimensions.get("loss.lm")
    return min(space.possible("loss.lm") if dimension is None else dimension.values) > 0
