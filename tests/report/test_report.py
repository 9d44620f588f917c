"""The page of a search: what it shows, what it hides, and that it loads nothing."""

import base64
import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import tune_sa2va
from tests.report import making
from tune_sa2va.config import RECIPE
from tune_sa2va.errors import UserError
from tune_sa2va.propose.warm_start import Inherited, InheritedTrial, write_inherited
from tune_sa2va.report import importance
from tune_sa2va.report.__main__ import write_comparison, write_report
from tune_sa2va.report.effort import Timeline
from tune_sa2va.report.load import load_run
from tune_sa2va.report.progress_figures import _labels
from tune_sa2va.report.summary import report_figures
from tune_sa2va.results.records import RunRecords, TrialState

BUNDLE = (Path(tune_sa2va.__file__).parent / "report" / "assets" / "plotly-basic.min.js").read_text()


@pytest.fixture(scope="module", autouse=True)
def _few_resamples() -> Iterator[None]:
    """Reduces the rounds of the importance, as 200 take seconds per page. The tests do not depend on the number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importance, "_RESAMPLES", 5)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    return making.whole_run(root / "one", root / "study")


@pytest.fixture(scope="module")
def hidden(run: Path) -> str:
    return page(run)


@pytest.fixture(scope="module")
def shown(run: Path) -> str:
    return page(run, show_names=True)


def ours(text: str) -> str:
    """The page without plotly.js and pictures, whose encoded text may contain any short word by chance."""
    return re.sub(r"data:image/jpeg;base64,[^\"]*", "", text.replace(BUNDLE, ""))


def page(folder: Path, *, show_names: bool = False) -> str:
    to = folder / "page.html"
    write_report(folder, to, show_names=show_names, pictures=True, static=False)
    return to.read_text()


def told(text: str) -> str:
    """The page without its scripts and style."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)


class Loads(HTMLParser):
    """Collects every attribute that could make a browser fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "poster") and not (value or "").startswith(
                ("data:", "#")
            ):
                self.found.append(f"<{tag} {name}={value}>")


def test_the_page_says_what_the_files_say(hidden: str) -> None:
    text = told(hidden)
    assert "The winner is better than the recipe and is better than the untuned base by Dice (paired, 6 pat" in text
    assert "6 images of 6 groups, which no trial has seen; opened once." in text
    assert "ASHA stopped 11 of 13 ended trials (11 after epoch 1)" in text
    # 11 trials x 3 missing epochs x 10 s, and 19 epochs x 10 s that were run
    assert "this saved 6 min of lane time of the 9 min" in text and "63%" in text
    assert "The winner is trial t03" in text
    assert "trial t05" in text and "cannot be read" in text
    assert text.count("data:image/jpeg;base64,") == 3 * 5


def test_no_sentence_rests_on_one_or_two_trials_nor_on_trials_of_unequal_epochs(hidden: str) -> None:
    text = told(hidden)
    assert "of their first 1 epoch" in text and "From 13 trials by their best Val Dice of the first 1 epoch" in text
    means = re.search(r"Mean Val Dice of ranks with 3 trials or more.*?\(r = (\d+)\) to .*?\(r = (\d+)\)", text)
    ranks = [config.lora.r for number, config in enumerate(making.configs(14)) if number != 5]
    assert means is None or all(ranks.count(int(rank)) >= 3 for rank in means.groups())
    assert "highest at" not in text and "(1 trial)" not in text and "(2 trials)" not in text


def test_no_name_of_the_data_set_is_anywhere_unless_asked(run: Path, hidden: str, shown: str) -> None:
    assert [secret for secret in making.SECRETS if secret in ours(hidden)] == []
    assert str(run.parent) not in hidden
    assert re.search(r"img-[0-9a-f]{10}", told(hidden))
    assert "LiWei" in told(shown)


def test_markup_in_texts_is_escaped(hidden: str, shown: str) -> None:
    for text in (hidden, shown):
        assert making.MARKUP not in text
        assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_nothing_is_loaded(hidden: str) -> None:
    loads = Loads()
    loads.feed(hidden)
    assert loads.found == []
    styles = "".join(re.findall(r"<style>.*?</style>", hidden, flags=re.DOTALL))
    assert "@import" not in styles and "url(" not in styles
    assert "default-src 'none'" in hidden


def test_one_bundle_of_the_version_that_plotly_writes_for(hidden: str) -> None:
    from plotly.offline import get_plotlyjs_version

    text = hidden
    assert text.count("plotly.js (basic - minified)") == 1
    assert f"v{get_plotlyjs_version()}" in text
    assert len(text) < 2_500_000


def finished(folder: Path) -> RunRecords:
    making.settings(folder, folder / "none")
    return RunRecords.open(folder)


def test_failed_trials_only(tmp_path: Path) -> None:
    records = finished(tmp_path / "failed")
    for number, config in enumerate(making.configs(2)):
        records.trial_started(str(number), number, config, "lane 1")
        records.trial_ended(str(number), TrialState.FAILED, "train_loss is NaN in epoch 1")
    text = told(page(tmp_path / "failed"))
    assert "No trial has finished an epoch" in text
    assert "trial 0, trial 1" in text and "train_loss is NaN" in text


def test_a_single_trial(tmp_path: Path) -> None:
    records = finished(tmp_path / "single")
    records.trial_started("a", 0, RECIPE.replace({"train.epochs": making.EPOCHS}), "lane 1")
    records.epoch("a", making.record(1, 0.5))
    text = told(page(tmp_path / "single"))
    assert "The search has not ended: trial a leads with Val Dice 0.500" in text
    assert "too few to say what mattered" in text


def test_two_trials_and_a_night_between_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta

    from tune_sa2va.results import records as module

    clock = datetime(2026, 1, 1, 20, tzinfo=UTC)
    monkeypatch.setattr(module, "_now", lambda: clock)
    records = finished(tmp_path / "night")
    first, second = making.configs(2)
    records.trial_started("a", 0, first, "lane 1")
    clock += timedelta(seconds=10)
    records.epoch("a", making.record(1, 0.5))
    records.trial_ended("a", TrialState.WAITING)
    clock += timedelta(hours=12)
    records = RunRecords.open(tmp_path / "night")
    records.trial_started("a", 0, first, "lane 1")
    records.trial_started("b", 1, second, "lane 2")
    clock += timedelta(seconds=10)
    records.epoch("a", making.record(2, 0.6))
    records.epoch("b", making.record(1, 0.4))
    records.trial_ended("b", TrialState.STOPPED)
    text = told(page(tmp_path / "night"))
    assert "In 20 s the lanes worked" in text and "lane 1 100%, lane 2 50%" in text
    assert "Cut out (dotted): 1 pause of all lanes, 12.0 h in total." in text


def test_a_moved_data_set_leaves_the_gallery_out_and_names_nothing(tmp_path: Path) -> None:
    folder = making.whole_run(tmp_path / "one", tmp_path / "study")
    shutil.rmtree(tmp_path / "study")
    text = page(folder)
    assert "the data set has been moved or changed" in text
    assert not any(secret in ours(text) for secret in making.SECRETS)


def test_no_trial_yet_and_no_results_are_one_sentence(tmp_path: Path) -> None:
    finished(tmp_path / "empty")
    with pytest.raises(UserError, match="no trial has started yet"):
        page(tmp_path / "empty")
    with pytest.raises(UserError, match=r"no search\.yaml"):
        page(tmp_path)


def test_two_searches_are_paired_over_the_same_images(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "two"
    shutil.copytree(run, other)
    to = tmp_path / "both.html"
    write_comparison(run, other, to, show_names=False)
    text = to.read_text()
    assert "On the same 6 test images: B&#39;s winner ties with A&#39;s winner by Dice (paired, 6 patients" in text
    assert "Nothing but the name." in text
    assert not any(secret in ours(text) for secret in making.SECRETS)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow  # starts a browser: 10 s and more
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on this machine")
def test_a_browser_without_network_draws_every_figure(run: Path, tmp_path: Path) -> None:
    page(run)
    shown = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=10000", "--dump-dom", f"file://{run}/page.html"],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    drawn = re.findall(r"<div (?=[^>]*js-plotly-plot)[^>]*figure-(\w+)", shown)
    assert sorted(drawn) == sorted(
        ["differences", "images", "learning_curves", "parallel", "importance", "lr_rank", "lanes"]
    )


def test_the_reruns_have_a_section_and_are_no_trials(tmp_path: Path) -> None:
    """t03 leads the search with 0.595; its reruns have 0.55 and 0.57, those of the recipe 0.58."""
    making.settings(tmp_path, tmp_path / "none", confirm=2)
    records = RunRecords.open(tmp_path)
    recipe = RECIPE.replace({"train.epochs": making.EPOCHS})
    for trial, config, dice in (("t00", recipe, 0.58), ("t03", recipe.replace({"lora.r": 8}), 0.595)):
        records.trial_started(trial, int(trial[1:]), config, "lane 1")
        records.epoch(trial, making.record(1, dice))
        records.trial_ended(trial, TrialState.COMPLETE)
    for parent, seed, dice in (("t03", 1, 0.55), ("t00", 1, 0.58), ("t03", 2, 0.57), ("t00", 2, 0.58)):
        config = RECIPE.replace({"train.seed": seed})
        records.trial_started(f"{parent}-seed{seed}", 10, config, "lane 1", parent=parent)
        records.epoch(f"{parent}-seed{seed}", making.record(1, dice))
        records.trial_ended(f"{parent}-seed{seed}", TrialState.COMPLETE)
    making.export(tmp_path, "t00-seed1", 1)
    text = told(page(tmp_path))
    assert "trial t03, had Val Dice 0.595 in the search and 0.560 as the mean of its 2 reruns: 0.035 of its" in text
    assert "The confirmation prefers trial t00, by its mean of 0.580 against 0.560" in text
    assert "0.550 (seed 1), 0.570 (seed 2)" in text
    assert "ran again with new seeds: 4 reruns in 40 s of lane time" in text
    assert "2 trials started" in text and "The winner is t00-seed1 (trial t00 again with seed 1): " in text
    assert "No trial beat the recipe by its reruns" in text


def test_before_the_first_rerun_nothing_is_confirmed(tmp_path: Path) -> None:
    making.settings(tmp_path, tmp_path / "none", confirm=2)
    records = RunRecords.open(tmp_path)
    records.trial_started("t00", 0, RECIPE, "lane 1")
    records.epoch("t00", making.record(1, 0.5))
    assert "The best, confirmed" not in told(page(tmp_path))
    records.trial_ended("t00", TrialState.COMPLETE)
    text = told(page(tmp_path))
    assert "confirmation is not complete: 0 of 2 reruns" in text and "ran again with new seeds" not in text


def test_what_was_inherited_is_said_and_counts_as_no_trial(tmp_path: Path) -> None:
    making.settings(tmp_path, tmp_path / "none", warm_start="/home/Li Wei/results/old")
    trial = InheritedTrial(trial_id="0000", point={}, val_dice=0.99)
    write_inherited(
        tmp_path, Inherited(source="old", same_data=True, differences=(), left_out=3, trials=(trial, trial))
    )
    records = RunRecords.open(tmp_path)
    records.trial_started("0000", 0, RECIPE, "lane 1")
    records.epoch("0000", making.record(1, 0.5))
    text = told(page(tmp_path))
    assert "told 2 finished trials of the search old, on the same data. Left out" in text
    assert "1 trial started" in text and "0.99" not in text and "Li Wei" not in text


def figures(folder: Path) -> dict[str, Any]:
    return {figure.key: figure for figure in report_figures(load_run(folder, show_names=False))}


def test_the_score_axis_spans_the_scores(run: Path) -> None:
    plot = figures(run)["parallel"].plot
    assert plot.layout.yaxis.ticktext[-1] == "Val Dice<br><i>0.525 … 0.595</i>"
    row = len(plot.layout.yaxis.ticktext) - 1
    ends = [x for trace in plot.data for x, y in zip(trace.x, trace.y, strict=True) if y == row]
    assert (min(ends), max(ends)) == (0.0, 1.0)


def test_counts_have_whole_ticks(run: Path) -> None:
    drawn = figures(run)
    assert drawn["images"].plot.layout.xaxis.dtick == drawn["learning_curves"].plot.layout.xaxis.dtick == 1


def test_the_labels_of_lanes_are_of_one_size_and_only_where_there_is_room(run: Path) -> None:
    *bars, labels = figures(run)["lanes"].plot.data
    assert labels.mode == "text" and labels.textfont.size >= 12 and len(labels.text) >= 3
    assert all(trace.text is None for trace in bars)
    short = timeline_of(0.5)
    assert "".join(_labels(short, 1.0).text) == "long"


def timeline_of(end_s: float) -> Timeline:
    """A trial of 100 s, and one of half a second after it."""
    spans = pd.DataFrame(
        {"lane": ["lane 1"] * 2, "label": ["trial long", "trial short"], "start_s": [0.0, 100.0],
         "end_s": [100.0, 100.0 + end_s]}
    )  # fmt: skip
    return Timeline(spans=spans, pauses=[], busy={}, total_s=100.0 + end_s)


def test_the_sentence_above_the_intervals_says_what_the_table_says(run: Path) -> None:
    locked = load_run(run, show_names=False).locked
    assert locked is not None
    reading = figures(run)["differences"].reading
    for other in ("recipe", "untuned base"):
        (said,) = re.findall(rf"Compared with the {other}: (.*?)\.", reading)
        for column, label in (("dice", "Dice"), ("precision", "Precision"), ("cl_dice", "clDice")):
            word = locked.against(other)[column].word
            assert re.search(rf"{word} by [^;]*\b{label}\b", said), (other, label, word, said)


def test_the_parts_are_counted_by_image_and_patient(hidden: str) -> None:
    assert "The parts, by image and patient (group): train: 4 images of 4 groups; test: 6 images of 6 groups." in hidden


def test_the_gallery_fills_its_rows_and_opens_at_full_size_without_a_script(hidden: str) -> None:
    rows = re.findall(r'<div class="panels">(.*?)</div>', hidden, flags=re.DOTALL)
    captions = [re.findall(r"<figcaption>(.*?)</figcaption>", row) for row in rows]
    assert captions == [["image", "truth", "untuned base", "recipe", "winner"]] * 3
    for target in re.findall(r'class="larger" href="#(.*?)"', hidden):
        assert hidden.count(f'<figure id="{target}">') == 1
    assert ".panels figure:target" in hidden
    first = re.search(r"data:image/jpeg;base64,([^\"]*)", hidden)
    assert first and Image.open(io.BytesIO(base64.b64decode(first[1]))).size == (48, 40)


def test_errors_are_told_by_vessel_width(hidden: str) -> None:
    table = re.search(r'<h3 id="widths">.*?</table>', hidden, flags=re.DOTALL)
    assert table and "under 4 px" in table[0] and "16 px and more" in table[0]
    assert re.search(r"untuned base</th>.*?100% missed.*?recipe</th>", table[0], flags=re.DOTALL)


def test_a_rerun_that_won_has_one_name(tmp_path: Path) -> None:
    folder = making.whole_run(tmp_path / "one", tmp_path / "study")
    records = RunRecords.open(folder)
    records.trial_started("t03-seed1", 20, RECIPE, "lane 1", parent="t03")
    (folder / "best_adapter" / "tune_sa2va.json").write_text('{"trial": "t03-seed1", "epoch": 4}')
    text = told(page(folder))
    assert "The winner is t03-seed1 (trial t03 again with seed 1): " in text
    assert "The winner repeats trial t03, which counts by epoch 4" in text


def test_a_row_that_both_searches_share_is_said_once(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "two"
    shutil.copytree(run, other)
    table = pq.read_table(other / "test_scores.parquet").to_pandas()
    table.loc[table["row"] == "winner", "tp"] -= 1
    table.loc[table["row"] == "winner", "fn"] += 1
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), other / "test_scores.parquet")
    to = tmp_path / "compared.html"
    write_comparison(run, other, to, show_names=False)
    rows = re.findall(r'<th scope="row">([^<]*)</th><td class="number">', told(to.read_text()))
    assert [row for row in rows if ":" in row] == [
        "A and B: untuned base",
        "A and B: recipe",
        "A: winner",
        "B: winner",
    ]
