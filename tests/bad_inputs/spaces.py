"""Search spaces that cannot be: YAML that is none, and spaces that make no sense."""

from dataclasses import replace
from pathlib import Path

from tests.data.making import FORMS, save_images

from .case import Case

_RATE = "optimizer.lr: {log_uniform: [1e-5, 1e-3]}"


def _case(name: str, content: str | bytes, *says: str) -> Case:
    def make(folder: Path) -> list[str]:
        file = folder / "mine.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return ["search", "--gpus", "0", "--out", str(folder / "results"), "--space", str(file)]

    return Case(name=f"space: {name}", make=make, says=("mine.yaml", *says))


def _unfit(name: str, content: str, *says: str) -> Case:
    """One that does not fit the model, which is seen once there are data."""
    case = _case(name, content, *says)

    def make(folder: Path) -> list[str]:
        save_images(folder / "data")
        FORMS["folder"](folder / "data")
        return [*case.make(folder), "--data", str(folder / "data")]

    return replace(case, make=make)


SPACES = [
    _case("empty file", "", "Give it a map 'space'"),
    _case("a list", "- lora.r", "Give it a map 'space'"),
    _case("no space", "fixed: {lora.r: 8}", "'space' must be a map", "See search_spaces/lora.yaml"),
    _case("nothing searched", "space: {}", "'space' is empty", "Give at least one"),
    _case("misspelt section", "spaces: {}", "unknown key 'spaces'", "'space'"),
    _case("misspelt field", "space: {lora.rank: {choice: [8]}}", "'lora.rank'", "'lora.r'"),
    _case("misspelt distribution", "space: {lora.r: {choise: [8]}}", "'choise'", "'choice'"),
    _case("no distribution", "space: {lora.r: 8}", "lora.r must have exactly one of", "choice"),
    _case("r of 0", "space: {lora.r: {choice: [0, 64]}}", "lora.r cannot be 0", "take out that value"),
    _case("r as text", 'space: {lora.r: {choice: ["64"]}}', "lora.r cannot be '64'", "Write that instead"),
    _case("bounds swapped", "space: {loss.bce: {uniform: [5, 0.1]}}", "loss.bce", "lowest value first"),
    _case("logarithm of 0", "space: {loss.bce: {log_uniform: [0, 5]}}", "loss.bce", "start above 0"),
    _case("no number", "space: {loss.bce: {uniform: [.nan, 5]}}", "loss.bce", "finite bounds"),
    _case("a huge number", f"space: {{loss.bce: {{uniform: [0.5, 1{'0' * 400}]}}}}", "loss.bce", "finite"),
    _case("epochs searched", "space: {train.epochs: {int_uniform: [1, 9]}}", "train.epochs", "--epochs"),
    _case("without the recipe", "space: {lora.r: {choice: [8, 16]}}", "recipe's 64", "put lora.r under 'fixed'"),
    _case("fixed and searched", f"fixed: {{optimizer.lr: 1e-4}}\nspace: {{{_RATE}}}", "optimizer.lr", "Take it out"),
    _case("no mask loss", f"fixed: {{loss.dice: 0, loss.focal: 0, loss.bce: 0}}\nspace: {{{_RATE}}}", "all 0"),
    _case(
        "an encoder that runs beside cached ways to show images",
        f"fixed: {{data.augment: flips}}\nspace: {{encoder.sam2: {{choice: [none, all]}}, {_RATE}}}",
        "encoder.sam2 cannot be 'all'",
        "set data.strength",
    ),
    _case(
        "an encoder's rate of 0",
        f"fixed: {{encoder.lr_factor: 0}}\nspace: {{{_RATE}}}",
        "encoder.lr_factor cannot be 0",
    ),
    _case(
        "a rank of adapters that no trial has",
        "space: {encoder.r: {choice: [8, 16]}}",
        "changes nothing",
        "encoder.sam2",
    ),
    _case("key twice", f"space: {{{_RATE}}}\nspace: {{{_RATE}}}", "line 2", "given twice", "Correct that line"),
    _unfit(
        "modules that are none", f"fixed: {{lora.target_modules: [qproj]}}\nspace: {{{_RATE}}}", "'qproj'", "q_proj"
    ),
    _unfit(
        "a choice that is none beside the recipe's",
        "space: {lora.target_modules: {choice: [[q_proj, k_proj, v_proj, o_proj], [q_proj, fc1]]}}",
        "lora.target_modules cannot be ['q_proj', 'fc1']",
        "encoder.vision",
        "Leave it out",
    ),
    _unfit(
        "a choice with nothing left beside a module in full",
        "space:\n  lora.target_modules: {choice: [[q_proj, k_proj, v_proj, o_proj], [out_proj]]}\n"
        "  train.full_modules: {choice: [[], [mask_decoder]]}",
        "cannot be ['out_proj'] together with train.full_modules ['mask_decoder']",
        "no module is left",
    ),
    _unfit(
        "a choice that no loss reaches",
        "space: {lora.target_modules: {choice: [[q_proj, k_proj, v_proj, o_proj], [lm_head]]}}",
        "cannot be ['lm_head']: no loss reaches language_model.lm_head",
        "Leave it out",
    ),
    _case("unfinished", "space: {", "not valid YAML", "Correct that line"),
    _case("a tab", "space:\n\tlora.r: 8", "not valid YAML", "line 2"),
    _case("not UTF-8", b"space: \xff", "not valid YAML", "UTF-8"),
    _case("a NUL", b"space: \0", "not valid YAML", "UTF-8"),
    _case("a picture", b"\x89PNG\r\n\x1a\n" + bytes(99), "not valid YAML", "UTF-8"),
    _case("aliases", "a: &a [1]\nb: [*a, *a]", "aliases are not read", "Correct that line"),
    _case("a Python object", "space: !!python/object/apply:os.getcwd []", "not valid YAML", "Correct that line"),
    _case("too deep", "[" * 20_000, "not valid YAML", "search_spaces/"),
    _case("too large", "#" * 70_000, "larger than 65536 bytes", "give another one"),
    _case("an impossible date", "space: 2024-13-45", "not valid YAML", "search_spaces/"),
]
