"""`cache ls` and `cache rm`: what is shown, what is removed, and that features in use are kept."""

import os
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.cache.test_feature_file import some_features
from tune_sa2va.cache.__main__ import app
from tune_sa2va.cache.about import note_wanted
from tune_sa2va.cache.feature_file import write
from tune_sa2va.cache.key import file_name
from tune_sa2va.cache.listing import cached_bases
from tune_sa2va.cache.store import FeatureCache
from tune_sa2va.cli import run
from tune_sa2va.data.variants import Variant
from tune_sa2va.model.locate import model_folder

DAY_S = 86_400


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, FeatureCache]:
    """Caches of two models with one file each; `8b` was used a week ago and lacks a second picture."""
    monkeypatch.setenv("TUNE_SA2VA_CACHE", str(tmp_path))
    made = {}
    for preset, wanted in (("tiny", ("a",)), ("8b", ("a", "b"))):
        cache = FeatureCache(tmp_path / "features", model_folder(preset), torch.float32, raw_high_res=False)
        names = [file_name(letter * 32, Variant.AS_IS) for letter in wanted]
        with (cache.folder / names[0]).open("wb") as file:
            write(file, some_features(), torch.float32)
        note_wanted(cache.folder, names)
        made[preset] = cache
    week_ago = time.time() - 7 * DAY_S
    os.utime(made["8b"].folder / "lock", (week_ago, week_ago))
    (tmp_path / "features" / "other").mkdir()
    return made


def close(caches: dict[str, FeatureCache]) -> None:
    for cache in caches.values():
        cache.close()


def test_ls_shows_what_is_complete_and_what_is_in_use(caches: dict[str, FeatureCache]) -> None:
    caches["8b"].close()
    lines = {line.split()[1]: line for line in CliRunner().invoke(app, ["ls"]).output.splitlines() if "float32" in line}
    assert "complete" in lines["tiny"] and "yes" in lines["tiny"]
    assert "1 of 2" in lines["8b"] and "yes" not in lines["8b"]


def test_rm_keeps_what_a_process_uses_and_says_so(caches: dict[str, FeatureCache]) -> None:
    caches["8b"].close()
    result = CliRunner().invoke(app, ["rm", "--all"])
    assert result.exit_code == 1
    assert "removed 8b" in result.output and "kept tiny" in result.output
    assert not caches["8b"].folder.exists() and caches["tiny"].folder.exists()


@pytest.mark.parametrize("flags", [["--older-than", "3"], ["--down-to", "0.000008"], ["--base", "ID"]])
def test_rm_takes_what_was_named(caches: dict[str, FeatureCache], flags: list[str]) -> None:
    close(caches)
    folder = caches["8b"].folder
    result = CliRunner().invoke(app, ["rm", *(folder.name[:6] if flag == "ID" else flag for flag in flags)])
    assert result.exit_code == 0 and "freed" in result.output
    assert not folder.exists() and caches["tiny"].folder.exists()
    assert (folder.parent / "other").exists()


@pytest.mark.parametrize("flags", [[], ["--all", "--down-to", "1"], ["--base", "zz"]])
def test_wrong_use_is_one_sentence(
    caches: dict[str, FeatureCache], flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(app, ["rm", *flags])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error[")
    assert len(cached_bases(caches["tiny"].root)) == 2
