"""Rules that assign images to patients."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tune_sa2va.data import Fault, open_dataset, split_by_group
from tune_sa2va.data.groups import group_rule
from tune_sa2va.data.rules import Rules
from tune_sa2va.errors import DataError, UserError

from .making import FORMS, picture, rectangle_outline, save, save_images, save_pair, write_json

USERS = "^(.+?\\(\\d+\\))"


@pytest.mark.parametrize(
    ("rule", "name", "group"),
    [
        (USERS, "images/Name(0000000001)_1-2_1_code_frame_000011.jpg", "Name(0000000001)"),
        ("^([^_]+)_", "images/p7_x.png", "p7"),
        ("(p\\d+)", "images/none.png", None),
        ("^images/([^/]+)/", "images/P01/a.png", "P01"),
        ("^([^/]+)$", "images/P01/a.png", None),  # with a slash in the rule, the path is searched
        ("(?:left|right)_(.*)_", "images/left_P1_0.png", "P1"),
        ("^(Gefa\u0308)", "images/Gef\u00e4.png", None),
        ("^(Gef\u00e4)", "images/Gefa\u0308.png", "Gef\u00e4"),
        ("()x", "images/x.png", None),
    ],
)
def test_a_regular_expression(rule: str, name: str, group: str | None) -> None:
    assert group_rule(rule).of(name) == group


@pytest.mark.parametrize("rule", ["p\\d+", "(a)(b)", "(", "[z-a]", "(" * 5000])
def test_no_such_rule(rule: str) -> None:
    with pytest.raises(UserError, match="--group-by"):
        group_rule(rule)


@given(st.text(max_size=30))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    try:
        of = group_rule(text).of
    except UserError:
        return
    found = of("images/p(1)_frame_2.png")
    assert found is None or found == found.strip() != ""


class TestTable:
    @staticmethod
    def write(folder: Path, content: str) -> str:
        (folder / "who.csv").write_text(content, encoding="utf-8-sig")
        return str(folder / "who.csv")

    @pytest.mark.parametrize("name", ["images/a.png", "a.png", "a"])
    def test_names_in_each_form(self, tmp_path: Path, name: str) -> None:
        of = group_rule(self.write(tmp_path, f"patient,Name,age\r\n P1 ,{name},60\r\n,,\r\n")).of
        assert of("images/a.png") == "P1"
        assert of("images/b.png") is None

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("", "name and patient"),
            ("name,group\na,b\n", "look at patient"),
            ("name,patient\na,\n", "line 2"),
            ("name,patient\na,P1\na,P2\n", "line 3"),
            ('name,patient\n"a,P1\n', "cannot be read as CSV"),
            (f"name,patient\n{'x' * 5000},P1\n", "more than 4096 letters"),
        ],
    )
    def test_bad_tables(self, tmp_path: Path, content: str, says: str) -> None:
        with pytest.raises(DataError, match=says):
            group_rule(self.write(tmp_path, content))

    def test_no_table(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no such file"):
            group_rule(str(tmp_path / "no.csv"))


@pytest.mark.parametrize("form", FORMS)
def test_a_rule_works_for_every_layout_and_stands_above_the_data_sets_own(tmp_path: Path, form: str) -> None:
    save_images(tmp_path)
    source = FORMS[form](tmp_path)
    samples = open_dataset(source, rules=Rules(group_by="^(.)")).samples
    assert {Path(sample.name).name: sample.group for sample in samples} == {
        "P(01)_1_frame_000001.png": "P",
        "P(01)_1_frame_000002.PNG": "P",
        "Q_frame_000001.tif": "Q",
        "alone.bmp": "a",
    }


def test_names_without_a_patient_are_one_error_and_left_out(tmp_path: Path) -> None:
    for seed, name in enumerate(("p1_a.png", "p1_b.png", "x.png", "y.png")):
        save_pair(tmp_path, name, seed)
    dataset = open_dataset(tmp_path, rules=Rules(group_by="^(p\\d)"))
    assert [sample.group for sample in dataset.samples] == ["p1", "p1"]
    [problem] = dataset.problems
    assert (problem.fault, problem.file) == (Fault.NO_GROUP, "images/x.png")
    assert "for 2 images" in problem.message


def test_an_entry_may_say_whose_image_it_is(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        save(tmp_path / "images" / f"{name}.png", picture(seed))
    outline = rectangle_outline((2, 3, 10, 5))
    entries = [
        {"image": f"{name}.png", "mask": [outline], "group": group} for name, group in zip("ab", ("P1", 7), strict=True)
    ]
    write_json(tmp_path / "annotations.json", [*entries, {"image": "c.png", "mask": [outline]}])
    assert [sample.group for sample in open_dataset(tmp_path).samples] == ["P1", "7", "images/c.png"]


@pytest.mark.parametrize("group", ["", " ", "nan", [], True, 1.5, 10**30, "x" * 5000])
def test_a_group_that_names_nobody(tmp_path: Path, group: object) -> None:
    save(tmp_path / "images" / "a.png", picture(0))
    entry = {"image": "a.png", "mask": [rectangle_outline((2, 3, 10, 5))], "group": group}
    write_json(tmp_path / "annotations.json", [entry])
    assert [problem.fault for problem in open_dataset(tmp_path).problems] == [Fault.BAD_ENTRY]


def test_no_patient_is_on_two_sides_of_a_split(tmp_path: Path) -> None:
    for patient in range(1, 7):
        for view in range(3):
            save_pair(tmp_path, f"Name({patient:010})_{view}_frame_1.png", 10 * patient + view)

    def parted(rules: Rules) -> int:
        """Patients with images in more than one part."""
        parts: dict[str, set[str | None]] = defaultdict(set)
        for sample in split_by_group(open_dataset(tmp_path, rules=rules).samples, seed=0):
            parts[sample.name.split("_")[0]].add(sample.split)
        return sum(len(found) > 1 for found in parts.values())

    assert parted(Rules()) > 0
    assert parted(Rules(group_by=USERS)) == 0
