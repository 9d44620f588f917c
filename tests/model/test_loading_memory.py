"""Loading a checkpoint of several GB in many shards takes no more memory than the model and one shard.

On a GPU, the host holds one shard at a time and nothing of the part that is already on the device.

Memory is the peak resident size of a process of its own, which includes the mapped pages of the shards.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tune_sa2va.model.checkpoint import build_on_meta, targets_by_key
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.locate import model_folder

SHARD_BYTES = 400 << 20
CONFIG = json.loads((model_folder("sa2va-1b") / "config.json").read_text())
LAYERS = 6  # of 24: the checkpoint stays under 4 GB

LOAD = """
import sys, torch
from pathlib import Path
from tune_sa2va.model.checkpoint import build_on_meta, load_model
from tune_sa2va.model.dims import read_dims

def peak():  # not getrusage, which starts with the peak of the parent process
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

device = torch.device(sys.argv[2])
# Loads the model's code and the CUDA context first: about 0.3 GB, which does not depend on the checkpoint's size.
build_on_meta(read_dims(Path(sys.argv[1])))
torch.zeros(9, device=device).to(torch.bfloat16).chunk(3)[1].clone().cpu()
before = peak()
model = load_model(Path(sys.argv[1]), device=device, dtype=torch.bfloat16)
print(before, peak(), sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()))
"""


def write_shards(folder: Path) -> int:
    """Writes an fp32 checkpoint in shards of at most 400 MiB, or one larger tensor. Returns the largest one's bytes."""
    config = CONFIG | {"llm_config": CONFIG["llm_config"] | {"num_hidden_layers": LAYERS}}
    (folder / "config.json").write_text(json.dumps(config))
    model = build_on_meta(read_dims(folder))
    native = model.state_dict()
    shard: dict[str, Tensor] = {}
    weight_map: dict[str, str] = {}
    sizes = [0]

    def flush() -> None:
        name = f"model-{len(sizes):05d}.safetensors"
        save_file(shard, folder / name)
        weight_map.update(dict.fromkeys(shard, name))
        shard.clear()
        sizes.append(0)

    for key, targets in targets_by_key(model).items():
        name, source = targets[0]
        rows, *rest = native[name].shape or (1,)
        rows = 3 * rows if source.third is not None else 1 if len(source.keys) > 1 else rows
        shape = (rows, *rest) if native[name].ndim else ()
        tensor = torch.full(shape, 0.5)
        if shard and sizes[-1] + tensor.nbytes > SHARD_BYTES:
            flush()
        shard[key] = tensor
        sizes[-1] += tensor.nbytes
    flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return max(sizes)


@pytest.mark.slow  # writes 3 GB and reads them again
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_peak_is_under_the_model_and_one_shard(tmp_path: Path, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    largest_shard = write_shards(tmp_path)
    files = list(tmp_path.glob("*.safetensors"))
    try:
        run = subprocess.run(
            [sys.executable, "-c", LOAD, str(tmp_path), device],
            capture_output=True, text=True, check=True, timeout=900,
        )  # fmt: skip
        before, peak, model_bytes = map(int, run.stdout.split())
        on_disk = sum(path.stat().st_size for path in files)
        print(f"{len(files)} shards of {on_disk / 1e9:.2f} GB, the largest {largest_shard / 1e9:.2f}")
        print(f"model {model_bytes / 1e9:.2f} GB, peak {peak / 1e9:.2f}, {before / 1e9:.2f} of it before loading")
        assert len(files) >= 8
        assert peak - before < (model_bytes + largest_shard if device == "cpu" else 1.3 * largest_shard)
    finally:
        for path in files:
            path.unlink()
