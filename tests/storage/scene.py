"""A results folder that changes like that of a search, and a storage on the local disk that can be interrupted."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from tune_sa2va.durable import publish_folder, rename_folder, write_whole
from tune_sa2va.storage.fetch import fetch
from tune_sa2va.storage.place import Place
from tune_sa2va.storage.results_copy import ResultsCopy

NAME = "vessels"


class Running:
    """One trial's search. Each step writes as a search does: checkpoint, records and journal, then a snapshot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epoch = 0
        (folder / "ray" / "tune").mkdir(parents=True)
        (folder / "logs").mkdir()
        (folder / "search.yaml").write_text("name: vessels\n")
        (folder / "environment.json").write_text("{}")

    def lane_goes_on(self) -> None:
        """Writes the next epoch's checkpoint, as its lane does independently, and deletes the one before the last."""
        self.epoch += 1
        trial = self.folder / "ray" / "checkpoints" / "0000"
        unfinished = trial / ".new.part"
        unfinished.mkdir(parents=True)
        for file in ("state.json", "optimizer.safetensors"):
            (unfinished / file).write_text(f"{file} {self.epoch} " * 50)
        rename_folder(unfinished, trial / f"checkpoint_{self.epoch:04d}")
        shutil.rmtree(trial / f"checkpoint_{self.epoch - 2:04d}", ignore_errors=True)

    def is_recorded(self) -> None:
        """Writes the records of the epoch, Tune's state and a snapshot."""
        for file in ("trials.parquet", "epochs.parquet", "val_counts.parquet"):
            write_whole(self.folder / file, f"{file} {self.epoch}".encode())
        for file in ("optuna.journal", "logs/0000.log"):
            with (self.folder / file).open("a") as opened:
                opened.write(f"epoch {self.epoch}\n")
        note = self.folder / "ray" / "tune" / "0000" / f"checkpoint_{self.epoch:06d}"
        note.mkdir(parents=True)
        (note / "epoch.json").write_text(str(self.epoch))
        (note / ".tune_metadata").write_text(str(self.epoch))
        (self.folder / "ray" / "tune" / "experiment_state.json").write_text(str(self.epoch))
        snapshot = self.folder / "ray" / "snapshots" / f".{self.epoch:06d}.part"
        snapshot.mkdir(parents=True)
        journal = (self.folder / "optuna.journal").stat().st_size
        (snapshot / "snapshot.json").write_text(json.dumps({"epoch": self.epoch, "journal_bytes": journal}))
        publish_folder(snapshot, self.folder / "ray" / "snapshots" / f"{self.epoch:06d}")
        shutil.rmtree(self.folder / "ray" / "snapshots" / f"{self.epoch - 2:06d}", ignore_errors=True)

    def step(self) -> None:
        """One more epoch."""
        self.lane_goes_on()
        self.is_recorded()


class CutOffError(OSError):
    """Stands for the loss of the machine or of the network."""


class Storage(Place):
    """A local folder that counts its operations, and fails in the middle of a chosen one."""

    def __init__(self, folder: Path) -> None:
        whole = Place.open("--storage", f"file://{folder}/{NAME}")
        super().__init__(whole.uri, whole._filesystem, whole._root)
        self.folder = folder / NAME
        self.operations = 0
        self.cut_at: int | None = None
        self.written: list[str] = []

    def _count(self) -> bool:
        self.operations += 1
        return self.operations == self.cut_at

    def sizes(self) -> dict[str, int]:
        if self._count():
            raise CutOffError("cut off")
        return super().sizes()

    def write(self, path: str, content: Iterable[bytes]) -> None:
        self.written.append(path)
        whole = b"".join(content)
        if self._count():
            super().write(path, [whole[: len(whole) // 2]])
            raise CutOffError("cut off")
        super().write(path, [whole])

    def copy(self, path: str, to: str) -> None:
        if self._count():
            super().write(to, [b"half"])
            raise CutOffError("cut off")
        super().copy(path, to)

    def remove(self, path: str) -> None:
        if self._count():
            for file in [file for file in (self.folder / path).rglob("*") if file.is_file()][:1]:
                file.unlink()  # of a folder, some is gone
            raise CutOffError("cut off")
        super().remove(path)


def contents(folder: Path) -> dict[str, str]:
    """What a resumed search needs of a results folder: everything but temporary files and files that Tune rewrites."""
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    left_out = ("ray/copy.json", "ray/tune/experiment_state.json")
    return {
        path: text for path, text in found.items() if path not in left_out and "/." not in path.replace("/.tune", "")
    }


def one_pass(copy: ResultsCopy) -> None:
    """Makes one pass, as a search does."""
    copy.sync(copy.freeze())


def fetched(storage: Path, out: Path) -> dict[str, str]:
    """The results as fetched by a machine that has nothing."""
    folder = fetch(f"file://{storage}/{NAME}", out)
    found = contents(folder)
    shutil.rmtree(folder)
    return found
