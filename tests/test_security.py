"""What SECURITY.md promises: no pickle, no code from data, nothing that the network can reach, no markup from names."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from ray._private import services

from tests.package_sources import found_in_modules
from tune_sa2va.data import open_dataset
from tune_sa2va.errors import CheckpointError, UserError
from tune_sa2va.search.cluster import start_own_ray
from tune_sa2va.space.strict_yaml import read_yaml

_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
_BUILTINS = {"eval", "exec", "compile", "__import__"}
_CALLS = {
    "torch.load": "weights_only pickles are pickles",
    "np.load": "may unpickle",
    "numpy.load": "may unpickle",
    "pd.read_pickle": "unpickles",
    "yaml.unsafe_load": "builds objects",
    "yaml.full_load": "builds objects",
    "os.system": "a shell",
    "os.popen": "a shell",
    "subprocess.getoutput": "a shell",
}
_KEYWORDS = {"shell", "trust_remote_code", "allow_pickle"}


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.mark,)  # type: ignore[return-value]


def dangers(source: str) -> Iterator[str]:
    """Expressions in a module's source that could run code that came with data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"line {node.lineno}: import {name}" for name in names if name.split(".")[0] in _MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in _BUILTINS or called in _CALLS:
            yield f"line {node.lineno}: {called}"
        if called == "yaml.load" and "_StrictLoader" not in ast.unparse(node) and "SafeLoader" not in ast.unparse(node):
            yield f"line {node.lineno}: yaml.load"
        for keyword in node.keywords:
            if keyword.arg in _KEYWORDS and ast.unparse(keyword.value) != "False":
                yield f"line {node.lineno}: {keyword.arg}={ast.unparse(keyword.value)}"


def test_no_module_of_ours_runs_code_from_data() -> None:
    assert found_in_modules(dangers) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "eval(text)",
        "exec(text)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
    ],
)
def test_the_search_for_dangers_finds_each(source: str) -> None:
    assert list(dangers(source))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that exists if a malicious file has been executed."""
    return tmp_path / "mark"


def test_the_malicious_pickle_is_malicious(mark: Path) -> None:
    pickle.loads(pickle.dumps(Evil(mark)))  # noqa: S301 (our own bytes)
    assert mark.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "model.safetensors.index.json"])
def test_a_checkpoint_that_is_a_pickle(tmp_path: Path, mark: Path, name: str) -> None:
    from tune_sa2va.model.checkpoint import load_model
    from tune_sa2va.model.locate import model_folder

    for part in ("config.json", "sam2_dims.json"):
        (tmp_path / part).write_bytes((model_folder("tiny") / part).read_bytes())
    torch.save({"weight": Evil(mark)}, tmp_path / name)
    with pytest.raises(CheckpointError):
        load_model(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.safetensors"])
def test_an_adapter_that_is_a_pickle(tmp_path: Path, mark: Path, name: str) -> None:
    from tune_sa2va.model.adapter import _read_tensors

    torch.save({"weight": Evil(mark)}, tmp_path / name)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        _read_tensors(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("tag", ["python/object/apply:pathlib.Path.touch", "python/object/new:pathlib.Path"])
def test_yaml_that_wants_python_objects(tmp_path: Path, mark: Path, tag: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(f"space: !!{tag} [{mark}]\n")
    with pytest.raises(UserError, match="not valid YAML"):
        read_yaml(file)
    assert not mark.exists()


@pytest.mark.parametrize(
    "metadata",
    [
        {"pandas": "{no JSON"},
        {"ARROW:schema": "bm8gc2NoZW1h"},
        {"ARROW:extension:name": "arrow.py_extension_type"},
        {"huggingface": "x" * 100_000},
    ],
)
def test_parquet_with_strange_metadata(tmp_path: Path, mark: Path, metadata: dict[str, str]) -> None:
    (tmp_path / "a.png").touch()
    malicious = pickle.dumps(Evil(mark))
    own = {"ARROW:extension:name": b"arrow.py_extension_type", "ARROW:extension:metadata": malicious}
    fields = [pa.field(name, pa.string(), metadata=own) for name in ("image", "mask")]
    schema = pa.schema(fields, metadata=metadata)
    pq.write_table(pa.table([["a.png"], ["a.png"]], schema=schema), tmp_path / "manifest.parquet")
    try:
        dataset = open_dataset(tmp_path)
    except UserError as error:
        assert "manifest.parquet" in str(error)
    else:
        assert [sample.name for sample in dataset.samples] == ["a.png"]
    assert not mark.exists()


def test_our_ray_keeps_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def init(**options: object) -> None:
        given.update(options, node=services.get_node_ip_address())

    monkeypatch.setattr(ray, "init", init)
    start_own_ray(num_cpus=1, num_gpus=0)
    assert given["node"] == "127.0.0.1", "Ray's other processes listen on the node's address"
    assert given["dashboard_host"] == "127.0.0.1"
    assert given["address"] == "local"
