"""Images, masks and annotations that fail or vanish while a search runs: what it does, and what names it gives away."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.drills.searches import Ground, finish, num_epochs, wait_until
from tune_sa2va.data.split_file import read_names
from tune_sa2va.results.records import read_trials

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]  # searches of a minute each

PATIENTS = ("ZhangSan", "LiWei", "WangFang", "ZhaoMin", "ChenYu", "SunLi", "ZhouJie", "WuQiang", "XuLei", "HeJing")


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """Images and masks are called by patients; a mask otherwise than its image."""
    with Ground.prepare(tmp_path, images=len(PATIENTS)) as ground:
        yield ground


def call_by_patients(data: Path) -> None:
    (data / "manifest.csv").unlink()  # pairs go by their names
    for patient, image in zip(PATIENTS, sorted((data / "images").iterdir()), strict=True):
        mask = data / "masks" / image.name
        mask.rename(mask.with_name(f"{patient}_88201.png"))
        image.rename(image.with_name(f"{patient}_88201.png"))


def as_labelme(data: Path) -> None:
    """The same images with an outline each, in a JSON file beside the image."""
    for image in sorted((data / "images").iterdir()):
        points = [[10, 10], [60, 10], [60, 60], [10, 60]]
        shapes = [{"label": "vessel", "points": points, "shape_type": "polygon"}]
        about = {"version": "5.0", "shapes": shapes, "imagePath": image.name, "imageHeight": 96, "imageWidth": 96}
        (data / f"{image.stem}.json").write_text(json.dumps(about))
        image.rename(data / image.name)
        (data / "masks" / image.name).unlink()
    (data / "images").rmdir()
    (data / "masks").rmdir()


def test_a_folder_that_goes_away_pauses_the_search(ground: Ground) -> None:
    data, results = ground.folder / "data", ground.results("gone")
    search = ground.start("gone", trials=3, epochs=3)
    wait_until(lambda: num_epochs(results) >= 2, within_s=1200, what="two epochs")
    data.rename(ground.folder / "elsewhere")
    assert finish(search) == 75, ground.said("gone")
    said = ground.said("gone")
    assert said.count("Paused: ") == 1 and "--resume" in said and "Traceback" not in said
    assert "FAILED" not in set(read_trials(results)["state"])
    (ground.folder / "elsewhere").rename(data)
    assert finish(ground.resume("gone")) == 0, ground.said("gone")
    assert set(read_trials(results)["state"]) <= {"COMPLETE", "STOPPED"} and len(read_trials(results)) == 3


def break_image(data: Path) -> None:
    for image in (data / "images").iterdir():
        image.write_bytes(b"no picture")


def break_masks(data: Path) -> None:
    for mask in (data / "masks").iterdir():
        mask.write_bytes(b"no picture")


def break_annotations(data: Path) -> None:
    for file in sorted(data.glob("*.json"))[1:]:  # by one of them the folder is still known as LabelMe's
        file.write_text("{")


@pytest.mark.parametrize(
    ("prepare", "spoil"),
    [(None, break_image), (None, break_masks), (as_labelme, break_annotations)],
    ids=["image", "mask", "annotation"],
)
def test_what_fails_gives_no_name_away(
    ground: Ground, prepare: Callable[[Path], None] | None, spoil: Callable[[Path], None]
) -> None:
    data, results = ground.folder / "data", ground.results("names")
    call_by_patients(data)
    if prepare is not None:
        prepare(data)
    search = ground.start("names", trials=2, epochs=1)
    wait_until((results / "lock.json").exists, of=search, what="the search has looked at its images")
    spoil(data)
    assert finish(search) in (1, 75), ground.said("names")
    said = ground.said("names")
    assert "Traceback" not in said and re.search(r"(img|grp)-[0-9a-f]{10}", said), said
    assert any(patient in row["name"] for patient in PATIENTS for row in read_names(results))
    for place, text in [("the terminal", said), *texts_of(results)]:
        assert [secret for secret in (*PATIENTS, "88201") if secret in text] == [], place


def texts_of(results: Path) -> Iterator[tuple[str, str]]:
    """Every file but names.parquet as text: tables unpacked, pickles that Ray keeps as hexadecimals, too."""
    for path in sorted(results.rglob("*")):
        if not path.is_file() or path.name == "names.parquet":
            continue
        yield f"the name of {path}", path.relative_to(results).as_posix()
        content = path.read_bytes()
        if path.suffix == ".parquet":
            yield str(path), pq.read_table(path).to_pandas().to_csv()
        text = content.decode("utf-8", errors="replace")
        yield str(path), text
        for pickled in re.findall(r'"([0-9a-f]{40,})"', text):
            if len(pickled) % 2 == 0:
                yield str(path), bytes.fromhex(pickled).decode("utf-8", errors="replace")
