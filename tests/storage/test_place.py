"""URIs: which are accepted, and which are refused with a message that does not repeat their secrets."""

from pathlib import Path

import pytest

from tune_sa2va.errors import ResultsError
from tune_sa2va.storage.place import Place, join, split


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("results", "--storage results: must be a URI, such as s3://"),
        ("/shared/results", "/shared/results: must be a URI"),
        ("ftp://host/path", "Unrecognized filesystem type"),
        ("mock://x/y", "names no folder"),
        ("file:///", "names no folder"),
        ("file:///a/../b", "names no folder"),
        ("file://host/path", "cannot be used"),
        ("s3://", "names no folder"),
        ("s3://bucket/a?regoin=x", "cannot be used (Unexpected query parameter"),
        ("s3://[", "cannot be used"),
        ("s3://AKIA:hush@bucket/a", "--storage s3://bucket/a: holds a password or a key"),
        ("s3://AKIA@bucket/a", "--storage s3://bucket/a: holds a password or a key"),
        ("hdfs://me:hush@host/a", "--storage hdfs://host/a: holds a password or a key"),
        ("s3://bucket/a?secret_key=hush", "--storage s3://bucket/a: holds a password or a key"),
        ("abfs://c@a.dfs.core.windows.net/p?client_secret=hush", "holds a password or a key"),
        ("abfs://c@a.dfs.core.windows.net/p?sig=hush", "holds a password or a key"),
        ("s3://me:hush@[/a", "holds a password or a key"),
    ],
)
def test_a_uri_that_is_refused(uri: str, said: str) -> None:
    with pytest.raises(ResultsError) as refused:
        Place.open("--storage", uri)
    sentence = str(refused.value)
    assert said in sentence and "hush" not in sentence and "AKIA" not in sentence and "\n" not in sentence


@pytest.mark.parametrize(
    "uri",
    [
        "file:///results",
        "s3://bucket/path?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:9000",
        "gs://bucket/path",
        "gs://anonymous@bucket/path",
        "abfs://container@account.dfs.core.windows.net/path",
    ],
)
def test_a_uri_that_is_taken(uri: str) -> None:
    assert Place.open("--storage", join(uri, "vessels")).uri == join(uri, "vessels")
    assert split(join(uri, "vessels")) == (uri, "vessels")


def test_the_name_goes_before_the_parameters() -> None:
    assert join("s3://bucket/a/?region=x", "vessels") == "s3://bucket/a/vessels?region=x"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"cannot be written \(.*\)\. Check the address and who may write"):
        Place.open("--storage", f"file://{tmp_path}/file/x").check_writable("--storage")


def test_files_of_a_place(tmp_path: Path) -> None:
    place = Place.open("--storage", f"file://{tmp_path}/new")
    assert place.sizes() == {}
    place.check_writable("--storage")
    assert place.sizes() == {}
    place.write("a/b", [b"12", b"3"])
    place.copy("a/b", "c")
    assert place.sizes() == {"a/b": 3, "c": 3} and b"".join(place.read("a/b")) == b"123"
    place.remove("a")
    place.remove("absent")
    assert place.sizes() == {"c": 3}
