"""Results copied to a storage: nodes need not share them, and any machine goes on after the driver's is lost."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import fs

from tests.drills.nodes import cluster, node_apart
from tests.drills.searches import Ground, family, finish, is_gone, num_epochs, outcome, wait_until
from tune_sa2va.results.snapshots import JOURNAL_COPY

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepare(tmp_path_factory.mktemp("storage")) as ground:
        yield ground


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounts a folder that only one node sees")
@pytest.mark.slow  # a cluster and a search: a minute
def test_nodes_that_share_no_folder_run_a_search(ground: Ground) -> None:
    """The only node with room for a lane sees an empty file system where the results are."""
    (ground.folder / "results").mkdir(exist_ok=True)
    with cluster(head_cpus=0, nodes=0) as nodes, node_apart(nodes, ground.folder / "results"):
        driver = ground.start("apart", "--address", nodes.address, "--storage", _uri(ground), trials=3)
        assert finish(driver) == 0, ground.said("apart")
    said, results = ground.said("apart"), ground.results("apart")
    assert "Test part, scored once" in said and "Traceback" not in said and "the copy" not in said, said
    assert (results / "best_adapter" / "adapter_model.safetensors").is_file()
    assert len(list((results / "test_masks").glob("*/*.png"))) > 0
    assert _files(ground.folder / "storage" / "apart") == _files(results)


@pytest.mark.slow  # two searches of which one is killed, twice: four minutes
@pytest.mark.parametrize("epochs", [2, 5], ids=["in the first trial", "in the second trial"])
def test_a_lost_driver_and_its_disk_cost_nothing(epochs: int, ground: Ground) -> None:
    """Killed with its whole results folder; what is fetched from the storage ends as a search that nobody killed."""
    name = f"lost-{epochs}"
    if not ground.results("whole").exists():
        assert finish(ground.start("whole")) == 0, ground.said("whole")
    driver = ground.start(name, "--storage", _uri(ground))
    wait_until(lambda: num_epochs(ground.results(name)) >= epochs, what=f"{epochs} epochs recorded")
    left = family(driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait(10)
    wait_until(lambda: all(map(is_gone, left)), within_s=300, what="the search's processes are gone")
    shutil.rmtree(ground.results(name))

    copy, elsewhere = f"{_uri(ground)}/{name}", ground.folder / "elsewhere"
    assert finish(ground.command(name, "--resume", copy, "--out", str(elsewhere))) == 0, ground.said(name)
    for got, whole in zip(outcome(elsewhere / name), outcome(ground.results("whole")), strict=True):
        pd.testing.assert_frame_equal(got, whole)
    assert _files(ground.folder / "storage" / name) == _files(elsewhere / name)
    assert finish(ground.command(name, "--resume", copy, "--out", str(elsewhere))) == 2
    assert "exists already. Go on with it by --resume" in ground.said(name) and "Traceback" not in ground.said(name)


@pytest.mark.slow  # a search and its resumption: a minute
def test_a_storage_that_goes_away_ends_no_search_but_is_told(ground: Ground) -> None:
    driver = ground.start("away", "--storage", _uri(ground), trials=2)
    results, there = ground.results("away"), ground.folder / "storage"
    wait_until(lambda: num_epochs(results) >= 1 and (there / "away").exists(), what="a first copy")
    wait_until(lambda: any((there / "away" / "ray" / "copy").glob("*.json")), what="its manifest")
    there.rename(ground.folder / "moved")
    there.write_text("no folder any more")
    assert finish(driver) == 75, ground.said("away")
    said = ground.said("away")
    assert (results / "best_adapter" / "adapter_model.safetensors").is_file(), "the search itself came to its end"
    assert said.count("is behind, the search goes on and tries again") <= 1 and "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert "is not complete" in last and f"--resume {results}" in last
    there.unlink()
    (ground.folder / "moved").rename(there)
    assert finish(ground.resume("away")) == 0, ground.said("away")
    assert _files(there / "away") == _files(results)


@pytest.mark.slow  # a search, a killed one and its resumption: two minutes
@pytest.mark.skipif(not shutil.which("moto_server"), reason="needs moto's server: pip install 'moto[server]'")
def test_s3(ground: Ground) -> None:
    """Against a server of S3's protocol on this machine."""
    port = _free_port()
    with (ground.folder / "server.log").open("w") as log:
        server = subprocess.Popen(["moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        wait_until(lambda: _listens(port), within_s=60, what="the server is up")
        parameters = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        secret = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "hush-hush"}
        store = fs.S3FileSystem(
            access_key="test", secret_key="hush-hush", allow_bucket_creation=True,
            endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1",
        )  # fmt: skip
        store.create_dir("vessels")
        driver = ground.start("s3", "--storage", f"s3://vessels/copies?{parameters}", extra=secret)
        wait_until(lambda: num_epochs(ground.results("s3")) >= 4, what="four epochs recorded")
        left = family(driver)
        driver.send_signal(signal.SIGKILL)
        driver.wait(10)
        wait_until(lambda: all(map(is_gone, left)), within_s=300, what="the search's processes are gone")
        shutil.rmtree(ground.results("s3"))
        elsewhere = ground.folder / "elsewhere"
        copy = f"s3://vessels/copies/s3?{parameters}"
        resumed = ground.command("s3", "--resume", copy, "--out", str(elsewhere), extra=secret)
        assert finish(resumed) == 0, ground.said("s3")
        there = store.get_file_info(fs.FileSelector("vessels/copies/s3", recursive=True))
        found = {info.path.removeprefix("vessels/copies/s3/") for info in there if info.type == fs.FileType.File}
        assert {path for path in found if not path.startswith("ray/copy/")} == set(_files(elsewhere / "s3"))
    finally:
        server.terminate()
        server.wait(30)
    if not ground.results("whole").exists():
        assert finish(ground.start("whole")) == 0, ground.said("whole")
    pd.testing.assert_frame_equal(outcome(elsewhere / "s3")[0], outcome(ground.results("whole"))[0])
    written = [path for path in (elsewhere / "s3").rglob("*") if path.is_file()]
    assert not any(b"hush-hush" in path.read_bytes() for path in written) and "hush-hush" not in ground.said("s3")


def _uri(ground: Ground) -> str:
    return f"file://{ground.folder}/storage"


def _files(folder: Path) -> dict[str, bytes]:
    """All that a copy has: the results without what is temporary, what Tune writes anew, and the second journal."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        path: file.read_bytes()
        for path, file in found.items()
        if not path.startswith(("ray/copy", "optuna.journal.lock", JOURNAL_COPY))
        and Path(path).parent != Path("ray/tune")
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
