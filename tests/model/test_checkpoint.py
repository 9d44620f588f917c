"""Loading: all problems of a checkpoint are reported at once, and shards give the same model as a single file."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.checkpoint import load_model, save_model
from tune_sa2va.model.families import Family
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.prompt import Prompter
from tune_sa2va.model.sa2va import Sa2VA

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(golden_folder: Path) -> dict[str, Tensor]:
    return load_file(golden_folder / "model.safetensors")


@pytest.fixture
def folder(golden_folder: Path, tmp_path: Path) -> Path:
    """A copy of the golden folder's configuration, without weights."""
    for name in ("config.json", "sam2_dims.json"):
        shutil.copy(golden_folder / name, tmp_path / name)
    return tmp_path


def load(folder: Path) -> Sa2VA:
    return load_model(folder, device=CPU, dtype=torch.float32)


def assert_same(got: Sa2VA, wanted: Sa2VA) -> None:
    got_state, wanted_state = got.state_dict(), wanted.state_dict()
    assert got_state.keys() == wanted_state.keys()
    assert [name for name, tensor in got_state.items() if not torch.equal(tensor, wanted_state[name])] == []


def test_shards_give_the_same_model(folder: Path, weights: dict[str, Tensor], model: Sa2VA) -> None:
    # By turns, so that the four rows of the point embeddings come from both files.
    shards = {f"model-0000{i + 1}-of-00002.safetensors": sorted(weights)[i::2] for i in range(2)}
    for name, keys in shards.items():
        save_file({key: weights[key] for key in keys}, folder / name)
    weight_map = {key: name for name, keys in shards.items() for key in keys}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_same(load(folder), model)


def test_saving_and_loading_gives_the_same_model(folder: Path, model: Sa2VA) -> None:
    save_model(model, folder / "model.safetensors", dtype=torch.float32)
    assert_same(load(folder), model)


def test_missing_and_unexpected_keys_are_named_at_once(folder: Path, weights: dict[str, Tensor]) -> None:
    gone = ("mlp1.0.weight", "grounding_encoder.sam2_model.no_mem_embed")
    changed = {key: tensor for key, tensor in weights.items() if key not in gone}
    save_file(changed | {"language_model.model.extra": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as error:
        load(folder)
    for part in (str(folder), *(f"missing {key}" for key in gone), "unexpected language_model.model.extra"):
        assert part in str(error.value)


def test_all_misshaped_keys_are_named_at_once(folder: Path, weights: dict[str, Tensor]) -> None:
    wrong = {"text_hidden_fcs.0.bias": torch.zeros(5), "mlp1.0.weight": torch.zeros(2, 2)}
    save_file(weights | wrong, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"text_hidden_fcs\.0\.bias is \(5,\), wanted \(96,\)") as error:
        load(folder)
    assert "mlp1.0.weight is (2, 2), wanted (256,)" in str(error.value)


def test_a_truncated_file_is_an_error_that_names_it(folder: Path, golden_folder: Path) -> None:
    whole = (golden_folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is not a readable safetensors file"):
        load(folder)


def test_a_missing_shard_is_named(folder: Path, weights: dict[str, Tensor]) -> None:
    index = {"weight_map": dict.fromkeys(weights, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"1 shards are missing: model-00001-of-00001\.safetensors"):
        load(folder)


def test_a_shard_outside_the_folder_is_refused(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(CheckpointError, match="files outside the folder are not read"):
        load(folder)


def test_a_folder_without_weights_is_an_error(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has neither model\.safetensors nor"):
        load(folder)


def test_neither_folder_nor_preset(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither a folder nor a preset \(8b, .*tiny\)"):
        model_folder(str(tmp_path / "absent"))


def test_bf16_keeps_the_positional_encoding_in_fp32(golden_folder: Path, model: Sa2VA) -> None:
    half = load_model(golden_folder, device=CPU, dtype=torch.bfloat16)
    kept = {name for name, tensor in half.state_dict().items() if tensor.dtype == torch.float32}
    assert kept == {"sam_prompt_encoder.shared_embedding.positional_embedding"}
    assert torch.equal(half.image_position_encoding(), model.image_position_encoding())


def test_everything_wrong_is_one_error(folder: Path, weights: dict[str, Tensor]) -> None:
    changed = {key: tensor for key, tensor in weights.items() if key != "mlp1.0.weight"}
    changed |= {"text_hidden_fcs.0.bias": torch.zeros(5), "language_model.model.extra": torch.zeros(1)}
    save_file(changed, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"3 keys do not fit") as error:
        load(folder)
    for part in ("missing mlp1.0.weight", "unexpected language_model.model.extra", "text_hidden_fcs.0.bias is (5,)"):
        assert part in str(error.value)


def test_a_shard_cut_short_is_named(folder: Path, weights: dict[str, Tensor]) -> None:
    keys = sorted(weights)
    halves = {"model-00001-of-00002.safetensors": keys[::2], "model-00002-of-00002.safetensors": keys[1::2]}
    for name, half in halves.items():
        save_file({key: weights[key] for key in half}, folder / name)
    weight_map = {key: name for name, half in halves.items() for key in half}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    second = folder / "model-00002-of-00002.safetensors"
    second.write_bytes(second.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors: .*perhaps cut short"):
        load(folder)


def test_a_key_that_only_the_index_has_is_named(folder: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, folder / "model-00001-of-00001.safetensors")
    weight_map = dict.fromkeys([*weights, "lost.weight"], "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=r"lacks 1 keys that model\.safetensors\.index\.json says.*lost\.weight"):
        load(folder)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json: not found\. Give the folder of a Sa2VA checkpoint"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("config", "described"),
    [
        ({"model_type": "llama"}, "model_type 'llama' without"),
        ({"llm_config": {"model_type": "phi3"}, "vision_config": {}}, r"a language model 'phi3' \(llm_config\)"),
        ({"text_config": {"model_type": "gemma3"}, "vision_config": {}}, "a language model 'gemma3'"),
    ],
)
def test_an_unknown_architecture_lists_the_known_ones(
    tmp_path: Path, config: dict[str, object], described: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=described) as error:
        load(tmp_path)
    assert all(family in str(error.value) for family in Family)


class Bomb:
    """Creates the file `mark` when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.fixture
def trapped(folder: Path) -> Path:
    """A folder with code, named in auto_map, and a pickle, both of which create a file when run."""
    mark = folder / "code-was-run"
    for name in ("modeling_sa2va_chat", "configuration_sa2va_chat", "tokenization_internlm2"):
        (folder / f"{name}.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_sa2va_chat.Sa2VAChatConfig",
        "AutoModel": "modeling_sa2va_chat.Sa2VAChatModel",
        "AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None],
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    return folder


def test_no_code_of_the_folder_is_run(
    trapped: Path, golden_folder: Path, weights: dict[str, Tensor], model: Sa2VA
) -> None:
    save_file(weights, trapped / "model.safetensors")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        shutil.copyfile(golden_folder / name, trapped / name)
    assert_same(load(trapped), model)
    Prompter(trapped)
    assert not (trapped / "code-was-run").exists()


def test_a_pickle_is_not_opened_and_the_message_says_what_to_do(trapped: Path) -> None:
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle.*not loaded\. Save the model again"):
        load(trapped)
    assert not (trapped / "code-was-run").exists()
    pickle.loads((trapped / "pytorch_model.bin").read_bytes())  # noqa: S301  shows that the trap works
    assert (trapped / "code-was-run").exists()


def test_a_tied_head_is_the_embedding(tmp_path: Path, golden_folder: Path, weights: dict[str, Tensor]) -> None:
    config = json.loads((golden_folder / "config.json").read_text())
    config["llm_config"]["tie_word_embeddings"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copyfile(golden_folder / "sam2_dims.json", tmp_path / "sam2_dims.json")
    head = "language_model.lm_head.weight"
    save_file({key: tensor for key, tensor in weights.items() if key != head}, tmp_path / "model.safetensors")
    text = load(tmp_path).language_model
    assert text.lm_head.weight is text.get_input_embeddings().weight
    assert torch.equal(text.lm_head.weight, weights["language_model.model.embed_tokens.weight"])


def test_attention_is_computed_without_cudnn(model: Sa2VA) -> None:
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_attention_has_finite_gradients_for_scores_far_below_zero(model: Sa2VA) -> None:
    """One query, or half a tile of keys more than whole tiles, with every score at about -120."""
    for queries, keys in ((1, 128), (64, 64), (192, 192)):
        query, key, value = (torch.zeros(1, 1, n, 64, dtype=torch.bfloat16) for n in (queries, keys, keys))
        query[..., 0], key[..., 0] = 1.0, -120.0 * 8
        leaves = [each.cuda().requires_grad_() for each in (query, key, value)]
        torch.nn.functional.scaled_dot_product_attention(*leaves).sum().backward()
        assert all(bool(leaf.grad.isfinite().all()) for leaf in leaves if leaf.grad is not None)
