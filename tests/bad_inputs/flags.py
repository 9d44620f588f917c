"""Wrong use of each command's flags."""

from functools import partial
from pathlib import Path

from tests.data.making import FORMS, save_images

from .case import Case


def _search(*flags: str, says: tuple[str, ...]) -> Case:
    return Case(
        name=f"search {' '.join(flags)}"[:90],
        make=lambda folder: ["search", "--out", str(folder / "results"), *flags],
        says=says,
    )


def _plain(*line: str, says: tuple[str, ...]) -> Case:
    return Case(name=" ".join(line)[:90] or "nothing", make=lambda _: list(line), says=says)


def _file_for_folder(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return ["search", "--gpus", "0", "--out", str(folder / "file" / "results")]


def _name_taken(folder: Path) -> list[str]:
    (folder / "results" / "mine").mkdir(parents=True)
    return ["search", "--gpus", "0", "--out", str(folder / "results"), "--name", "mine"]


def _storage_of_results(folder: Path) -> list[str]:
    return ["search", "--gpus", "0", "--out", str(folder), "--name", "mine", "--storage", f"file://{folder}"]


def _storage_taken(folder: Path) -> list[str]:
    (folder / "storage" / "mine").mkdir(parents=True)
    (folder / "storage" / "mine" / "search.yaml").write_text("")
    line = ["search", "--gpus", "0", "--out", str(folder / "results"), "--name", "mine"]
    return [*line, "--storage", f"file://{folder / 'storage'}"]


def _fetched_before(folder: Path) -> list[str]:
    (folder / "results" / "mine").mkdir(parents=True)
    return ["search", "--out", str(folder / "results"), "--resume", f"file://{folder / 'storage' / 'mine'}"]


def _few_groups(folder: Path) -> list[str]:
    save_images(folder / "data")
    FORMS["folder"](folder / "data")
    out = str(folder / "results")
    return ["search", "--gpus", "0", "--data", str(folder / "data"), "--out", out, "--folds", "15"]


def _address(address: str, folder: Path) -> list[str]:
    save_images(folder / "data")
    FORMS["folder"](folder / "data")
    out = str(folder / "results")
    return ["search", "--gpus", "0", "--data", str(folder / "data"), "--out", out, "--address", address]


FLAGS = [
    _plain("serach", says=("'serach'", "'search'", "--help")),
    _plain("\x1b[2J", says=("\\x1b[2J", "--help")),
    _search("--trials", "0", "--gpus", "0", says=("--trials must be from 1 to 10000", "got 0")),
    _search("--trials", "many", says=("'--trials'", "valid integer", "--help")),
    _search("--trials", says=("'--trials'", "--help")),
    _search("--trails", "5", says=("--trails", "--trials", "--help")),
    _search("everything", says=("everything", "--help")),
    _search("--epochs", "10001", "--gpus", "0", says=("--epochs must be from 1 to 10000", "got 10001")),
    _search("--folds", "0", "--gpus", "0", says=("--folds must be auto or a number from 1", "got '0'")),
    _search("--folds", "many", "--gpus", "0", says=("--folds must be auto or a number from 1", "got 'many'")),
    _search("--folds", "9" * 5000, "--gpus", "0", says=("--folds must be auto or a number from 1",)),
    _search("--resume", "results/mine", "--folds", "5", says=("--resume keeps", "does not take --folds")),
    Case(name="more folds than groups", make=_few_groups, says=("15 folds need at least 15 groups", "fewer folds")),
    _search("--final", "best", "--gpus", "0", says=("--final must be one of auto, best-run", "got 'best'")),
    _search("--folds", "1", "--final", "average", "--gpus", "0", says=("--final average", "Use --folds 5")),
    _search("--grace-period", "9", "--epochs", "3", "--gpus", "0", says=("from 1 to --epochs 3, got 9",)),
    _search("--reduction-factor", "1", "--gpus", "0", says=("--reduction-factor must be from 2 to 100, got 1",)),
    _search("--time-budget", "nan", "--gpus", "0", says=("--time-budget must be above 0",)),
    _search("--time-budget", "-5", "--gpus", "0", says=("--time-budget must be above 0 minutes, got -5",)),
    _search("--seed", "-1", "--gpus", "0", says=("--seed must be from 0 to 2147483647, got -1",)),
    _search("--name", "../elsewhere", "--gpus", "0", says=("--name must be 1 to 100 letters", "'../elsewhere'")),
    _search("--name", "x" * 101, "--gpus", "0", says=("--name must be 1 to 100 letters", "x" * 101)),
    _search("--sampler", "tpu", "--gpus", "0", says=("--sampler must be one of tpe", "got 'tpu'")),
    _search("--gpus", "-1", says=("--gpus must be 0 or more",)),
    _search("--gpus", "4096", says=("--gpus 4096: this machine has", "Ask for at most")),
    _search("--gpus", "0", "--gpus-per-trial", "2", says=("--gpus-per-trial 2 needs GPUs", "Leave it out")),
    _search("--gpus", "0", "--trials-per-gpu", "65", says=("--trials-per-gpu must be auto or a number", "got '65'")),
    _search("--gpus", "0", "--trials-per-gpu", "all", says=("--trials-per-gpu must be auto or a number", "got 'all'")),
    _search("--gpus", "0", "--lanes", "1000", says=("--lanes must be from 1 to 256, got 1000",)),
    _search("--address", "auto", says=("--address needs --gpus",)),
    *(
        _search("--gpus", "0", "--name", "x", "--storage", uri, says=says)
        for uri, says in (
            ("results", ("--storage results: must be a URI", "use --out")),
            ("", ("--storage : must be a URI", "use --out")),
            ("ftp://host/x", ("--storage ftp://host/x: cannot be used", "Give a URI such as s3://")),
            ("s3://key:secret@bucket/x", ("--storage s3://bucket/x: holds a password", "Leave it out")),
            ("s3://bucket/x?nonsense=1", ("--storage s3://bucket/x: cannot be used", "Give a URI")),
            ("s3://\x1b[2J", ("cannot be used", "Give a URI")),
            ("file:///", ("names no folder", "Give a URI")),
            ("file:///dev/null/x", ("--storage file:///dev/null/x: cannot be written", "Check the address")),
            ("file:///" + "x" * 5000, ("cannot be written", "Check the address")),
        )
    ),
    Case(
        name="search --storage that holds the results",
        make=_storage_of_results,
        says=("overlaps the results folder", "another place"),
    ),
    Case(name="search --storage with that name", make=_storage_taken, says=("holds mine already", "--resume file:///")),
    Case(name="search --resume of a copy that is there", make=_fetched_before, says=("mine exists", "another --out")),
    _plain("search", "--resume", "file:///nowhere/x", says=("file:///nowhere/x: holds no copy", "Give the URI")),
    _plain("search", "--resume", "ftp://nowhere/x", says=("--resume ftp://nowhere/x: cannot be used", "Give a URI")),
    *(
        Case(name=f"search --address {address}", make=partial(_address, address), says=(address, "HOST:PORT"))
        for address in ("127.0.0.1:1", "nonsense", "h:99999", ":::")
    ),
    _search("--space", "no-such-space", "--gpus", "0", says=("no-such-space", "Give a YAML file", "lora")),
    _search("--space", "x" * 5000, "--gpus", "0", says=("no such search space", "Give a YAML file")),
    _search("--data", "no-such-data", "--gpus", "0", says=("no-such-data", "there is no such file", "Check the path")),
    _search("--data", "~nobody-here/x", "--gpus", "0", says=("~nobody-here", "there is no such file")),
    _search("--data", "x" * 5000, "--gpus", "0", says=("xxx", "there is no such file", "Check the path")),
    _search("--data", "", "--gpus", "0", says=("images/ is missing", "Add it")),
    _search("--model", "no-such-model", "--gpus", "0", says=("--model no-such-model", "tiny", "Give the folder")),
    _search("--model", "", "--gpus", "0", says=("config.json", "Give the folder of a Sa2VA checkpoint")),
    _search("--model", "x" * 5000, "--gpus", "0", says=("xxx", "too long", "Check the path")),
    Case(name="search --out in a file", make=_file_for_folder, says=("--out", "is a file", "Choose another folder")),
    Case(name="search --name that is taken", make=_name_taken, says=("mine exists already", "--resume")),
    _plain("data", "chek", "x", says=("'chek'", "'check'", "--help")),
    _plain("data", "check", says=("Missing argument", "--help")),
    _plain("data", "check", "/nowhere/at/all", says=("/nowhere/at/all", "Check the path")),
    _plain("data", "check", "x", "--group-by", "P", says=("--group-by 'P'", "which is the patient", "Write one pair")),
    _plain("data", "check", "x", "--group-by", "(", says=("--group-by '('", "not a regular expression", "Correct it")),
    _plain("data", "check", "x", "--group-by", "no.csv", says=("no.csv", "no such file", "Check the path")),
    _plain("data", "check", "x", "--outlines", "odd", says=("'--outlines'", "even-odd", "--help")),
    _plain("data", "check", "x", "--absent", "yes", says=("'--absent'", "keep", "--help")),
    _plain("data", "check", "x", "--overlays", "/dev/null", says=("--overlays /dev/null", "Give a new")),
    _plain("data", "frames", "no.dcm", "--to", "frames", says=("no.dcm", "no such file", "Check the path")),
    _plain("data", "check", "/dev/null", says=("/dev/null", "neither a file nor a folder", "Give a folder")),
    _plain("plan", "--card", "GT9000", says=("--card", "H100", "'GT9000'")),
    _plain("export", says=("Missing option '--run'", "--help")),
    _plain("export", "--run", "nowhere", "--to", "adapter", says=("nowhere", "Give the folder results/NAME")),
    _plain("parity", says=("Missing argument", "--help")),
    _plain("parity", "nowhere", says=("nowhere", "Give a folder")),
    _plain("parity", "nowhere", "--dtype", "fp64", says=("'--dtype'", "fp32", "--help")),
    _plain("pretrain", says=("Missing option '--out'", "--help")),
    _plain("pretrain", "--out", "p", "--minutes", "soon", says=("'--minutes'", "number", "--help")),
    _plain("pretrain", "--out", "p", "--init", "nowhere", "--device", "cpu", says=("nowhere", "Give the folder")),
    _plain("pretrain", "--out", "p", "--device", "tpu", says=("'--device'", "cpu", "--help")),
    _plain("pretrain", "--out", "p", "--minutes", "0", "--device", "cpu", says=("'--minutes'", "greater", "--help")),
    _plain(
        "pretrain", "--out", "p", "--batch-size", "0", "--device", "cpu", says=("'--batch-size'", "greater", "--help")
    ),
]
