"""A winner that cannot be trained on all images."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tune_sa2va.errors import NonFiniteError, RefitError
from tune_sa2va.score import refit as module


@pytest.mark.parametrize(("folds", "form"), [(5, "ensemble"), (1, "best-run")])
def test_a_refit_that_fails_names_what_can_be_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: int, form: str
) -> None:
    def fails(_task: object) -> None:
        raise NonFiniteError("loss 0.5, gradient norm nan: not finite.")

    nothing = SimpleNamespace(remote=lambda **_: lambda _: SimpleNamespace(remote=lambda *_: None))
    monkeypatch.setattr(module, "ray", nothing)
    monkeypatch.setattr(module, "read_names", lambda _: None)
    monkeypatch.setattr(module, "result_of", fails)
    settings = SimpleNamespace(gpus=0, lane=None, folder=tmp_path)
    checkpoint = SimpleNamespace(trial_id="0006", folds=folds, config=None, epoch=3, refit_folder=tmp_path / "refit")
    with pytest.raises(RefitError, match=rf"gradient norm nan.* --run {tmp_path} --final {form}\."):
        module.refit(settings, checkpoint)  # type: ignore[arg-type]
