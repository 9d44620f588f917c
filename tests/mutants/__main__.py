"""Puts small faults into the code, one at a time, and runs the tests beside it: `python -m tests.mutants [WORD ...]`.

WORD: only faults whose file or text holds one of these. Exit codes: 0 all were noticed or are explained, 1 one was not,
2 the list is wrong: a text does not stand in its file, or the tests fail without any fault.

The tree is copied once. Each fault runs in a child that is forked after the heavy libraries are loaded, so most take a
second or two; the first run fills a feature cache that all share.
"""

import contextlib
import importlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
sys.dont_write_bytecode = True  # a fault of the same length in the same second would find the old bytecode

from tests.mutants.faults import MUTANTS  # noqa: E402
from tests.mutants.mutant import Mutant  # noqa: E402

ROOT = Path(__file__).parents[2]
HEAVY = (
    *("torch._dynamo", "torch.distributed", "torch.testing", "transformers", "peft", "safetensors.torch", "jaxtyping"),
    *("transformers.models.sam2.modeling_sam2", "transformers.models.qwen2.modeling_qwen2"),
    *("transformers.models.internvl.modeling_internvl", "transformers.models.qwen3_vl.modeling_qwen3_vl"),
    *("pandas", "pyarrow.parquet", "scipy.stats", "skimage.morphology", "sklearn.metrics", "PIL.Image", "pydantic"),
    *(
        "ray.tune.search.optuna",
        "ray.tune.schedulers",
        "optuna",
        "hypothesis",
        "typer.testing",
        "rich.console",
        "pytest",
    ),
)
PASSED, FAILED = 0, 1
CPU_SECONDS = 300
"""After which a fault that loops for ever counts as noticed."""


def main(words: Sequence[str]) -> int:
    """Try the faults; gives back the exit code."""
    mutants = [m for m in MUTANTS if not words or any(word in m.label for word in words)]
    if wrong := [problem for mutant in mutants for problem in problems(mutant)]:
        print("\n".join(["The list is wrong:", *wrong]))
        return 2
    tried = [mutant for mutant in mutants if not mutant.survives]
    for module in HEAVY:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="tune_sa2va-mutants-") as name:
        tree = copy_tree(Path(name) / "tree")
        os.environ.setdefault("TUNE_SA2VA_TEST_CACHE", f"{name}/cache")
        tests = list(dict.fromkeys(test for mutant in tried for test in mutant.tests))
        print(f"{len(tests)} tests without a fault ...", flush=True)
        if (code := run_tests(tree, tests)) != PASSED:
            print(f"The list is wrong: they end with {code}.\n{(tree / 'said.txt').read_text()[-6000:]}")
            return 2
        survivors = [mutant for mutant in tried if not is_noticed(mutant, tree)]
    for mutant in mutants:
        if mutant.survives:
            print(f"explained              {mutant.label}\n{'':23}{mutant.survives}")
    noticed = len(tried) - len(survivors)
    print(f"{len(mutants)} faults: {noticed} killed, {len(survivors)} survived, {len(mutants) - len(tried)} explained")
    return 1 if survivors else 0


def problems(mutant: Mutant) -> Iterator[str]:
    """What is wrong with a record."""
    path = ROOT / mutant.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if (times := text.count(mutant.old)) != 1:
        yield f"{mutant.label}: stands there {times} times"
        return
    if bool(mutant.tests) is bool(mutant.survives):
        yield f"{mutant.label}: names tests, or says why it survives"
    for test in mutant.tests:
        if not (ROOT / test.split("::")[0]).is_file():
            yield f"{mutant.label}: {test} is not there"
    try:
        compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
    except SyntaxError as error:
        yield f"{mutant.label}: is no Python ({error.msg})"


def copy_tree(to: Path) -> Path:
    """The files that git has or would take, and beside them the reference data where this checkout has it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)
    if (ROOT.parent / "shared").exists():
        (to.parent / "shared").symlink_to((ROOT.parent / "shared").resolve())
    return to


def is_noticed(mutant: Mutant, tree: Path) -> bool:
    """Whether a test fails; says so, too."""
    path, started = tree / mutant.file, time.monotonic()
    sound = path.read_text(encoding="utf-8")
    path.write_text(sound.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code = run_tests(tree, mutant.tests)
    finally:
        path.write_text(sound, encoding="utf-8")
    noticed = code == FAILED or code < 0  # pytest's other codes say that no test was run
    verdict = "killed" if noticed else "SURVIVED" if code == PASSED else f"NOT RUN ({code})"
    print(f"{verdict:11} {time.monotonic() - started:6.1f} s   {mutant.label}", flush=True)
    return noticed


def run_tests(tree: Path, tests: Sequence[str]) -> int:
    """pytest in a child of its own, in the copy; gives back its exit code, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            code = _pytest(tree, tests)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests started and left
    return os.waitstatus_to_exitcode(status)


def _pytest(tree: Path, tests: Sequence[str]) -> int:
    import pytest

    os.chdir(tree)
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "tune_sa2va")]:
        del sys.modules[name]
    sys.path[:] = [str(tree), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    os.environ["PYTHONPATH"] = str(tree)
    with Path("said.txt").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    # A loaded machine may be slow, which is no failure: the limit is on processor time.
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-o", "timeout=3600", *tests]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
