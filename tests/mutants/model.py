"""Faults in the model's adapters, layers and files, and in what is exported of them."""

from tests.mutants.mutant import Mutant

STORE, LORA, TRUNK, UPSAMPLE = (f"tune_sa2va/model/{n}.py" for n in ("adapter_store", "lora", "trunk", "upsample"))
ADAPTER, REACH = (f"tune_sa2va/model/{n}.py" for n in ("adapter", "reach"))
PROMPT, PREPROCESS, IDENTITY = (f"tune_sa2va/model/{n}.py" for n in ("prompt", "preprocess", "identity"))
SA2VA = "tune_sa2va/model/sa2va.py"
MERGE, WRITE, DURABLE = "tune_sa2va/export/merge.py", "tune_sa2va/export/write.py", "tune_sa2va/durable.py"

T_STORE = ("tests/model/test_adapter_store.py",)
T_LORA = ("tests/model/test_lora.py",)
T_TRUNK = ("tests/model/test_trunk.py",)
T_UPSAMPLE = ("tests/model/test_upsample.py",)
T_ADAPTER = ("tests/model/test_adapter.py",)
T_MERGE = ("tests/export/test_merge.py",)
T_WRITE = ("tests/export/test_write.py",)
T_DURABLE = ("tests/test_durable.py",)
T_PROMPT = ("tests/model/test_prompt.py",)

MUTANTS = (
    # dropout
    Mutant(file=STORE, old="x * self.keep(x) / (1 - self.dropout).to(x.dtype)", new="x * self.keep(x)", tests=T_STORE),
    Mutant(file=STORE, old="bernoulli_(1 - self.dropout)", new="bernoulli_(self.dropout)", tests=T_STORE),
    Mutant(file=TRUNK, old="x * keep / (1 - probability).to(x.dtype)", new="x * keep", tests=T_TRUNK),
    Mutant(
        file=TRUNK,
        old="not store.is_dropping or ",
        new="",
        tests=("tests/model/test_trunk.py::test_dropout_is_off_in_evaluation",),
    ),
    Mutant(
        file=TRUNK,
        old="preserve_rng_state=False",
        new="preserve_rng_state=True",
        survives="Masks are drawn outside, so nothing random runs again; on a GPU a capture would fail.",
    ),
    # where numbers lie
    Mutant(file=STORE, old="// _ALIGN) * _ALIGN", new="// 1) * 1", tests=T_STORE),
    Mutant(
        file=STORE,
        old="piece.narrow(slot.rank_dim, 0, rank)",
        new="piece.narrow(slot.rank_dim, slot.shape[slot.rank_dim] - rank, rank)",
        tests=T_STORE,
    ),
    Mutant(
        file=STORE,
        old="            self._low.copy_(self.values[: self._num_low])",
        new="            pass",
        tests=("tests/train/test_optimizer.py",),
    ),
    # LoRA
    Mutant(file=LORA, old="(math.sqrt(lora.r) if lora.use_rslora else lora.r)", new="lora.r", tests=T_LORA),
    Mutant(
        file=LORA,
        old="F.linear(self.store.drop(x), self.lora_A) * self.store.scale",
        new="F.linear(self.store.drop(x), self.lora_A)",
        tests=T_LORA,
    ),
    Mutant(file=LORA, old="bound = 1 / math.sqrt(in_features)", new="bound = 1 / in_features", tests=T_LORA),
    Mutant(file=LORA, old='f"{seed} {reference}".encode()', new='f"{reference}".encode()', tests=T_LORA),
    Mutant(
        file=LORA,
        old='f"{seed} {reference}".encode()',
        new='f"{seed}".encode()',
        tests=("tests/model/test_lora.py::test_modules_start_with_other_numbers",),
    ),
    Mutant(
        file=LORA,
        old="        store.values.zero_()\n",
        new="",
        tests=("tests/train/test_trial.py::test_a_loss_that_is_not_finite_fails_the_trial_and_spares_the_next",),
    ),
    Mutant(file=LORA, old="store.dropout.fill_(lora.dropout)", new="store.dropout.fill_(0.0)", tests=T_LORA),
    Mutant(
        file=LORA, old="self.parameters[reference].copy_(self._model.get_parameter(name))", new="pass", tests=T_LORA
    ),
    # the layers
    Mutant(file=TRUNK, old="if keep is None else", new="if keep is not None else", tests=T_TRUNK),
    Mutant(file=TRUNK, old="else torch.cat(matrices)) * scale", new="else torch.cat(matrices))", tests=T_TRUNK),
    Mutant(file=TRUNK, old="is_causal=True", new="is_causal=False", tests=T_TRUNK),
    Mutant(file=TRUNK, old="torch.cat((-high, low), dim=-1)", new="torch.cat((high, low), dim=-1)", tests=T_TRUNK),
    Mutant(file=TRUNK, old="F.silu(gate) * up", new="F.silu(up) * gate", tests=T_TRUNK),
    Mutant(file=TRUNK, old="context is not None and number < context.deepstack.shape[1]", new="False", tests=T_TRUNK),
    Mutant(
        file=SA2VA,
        old="self.iou_scores.argmax(dim=1)",
        new="self.iou_scores.argmin(dim=1)",
        tests=("tests/model/test_parity.py",),
    ),
    Mutant(
        file=SA2VA,
        old="stride_16 + self.no_mem_embed.view(1, -1, 1, 1).to(stride_16.dtype)",
        new="stride_16",
        tests=("tests/model/test_parity.py",),
    ),
    # masks on the image's pixels
    Mutant(
        file=UPSAMPLE,
        old="F.pad(rows, (0, 0, 0, canvas - length))",
        new="F.pad(rows, (0, 0, canvas - length, 0))",
        tests=T_UPSAMPLE,
    ),
    Mutant(
        file=UPSAMPLE,
        old='F.interpolate(square, length, mode="linear", align_corners=False)',
        new='F.interpolate(square, length, mode="linear", align_corners=True)',
        tests=T_UPSAMPLE,
    ),
    Mutant(
        file=UPSAMPLE,
        old="F.interpolate(square, (height, width)",
        new="F.interpolate(mask_logits.float()[:, None], (height, width)",
        tests=T_UPSAMPLE,
    ),
    # text and pictures
    Mutant(
        file=PROMPT,
        old="len(prompt_ids) + answer_ids.index(self.seg_id)",
        new="len(prompt_ids) + len(answer_ids)",
        tests=T_PROMPT,
    ),
    Mutant(
        file=PROMPT,
        old="len(prompt_ids) + len(answer_ids) + 1",
        new="len(prompt_ids) + len(answer_ids)",
        tests=T_PROMPT,
    ),
    Mutant(
        file=PREPROCESS,
        old="(pixels.float() / 255 - _MEAN) / _STD",
        new="pixels.float() / 255 - _MEAN",
        tests=("tests/model/test_preprocess.py",),
    ),
    Mutant(
        file=PREPROCESS,
        old="> 0.5 * dims.tile_size**2",
        new="> 0.9 * dims.tile_size**2",
        tests=("tests/model/test_preprocess.py",),
    ),
    Mutant(
        file=IDENTITY,
        old="(size - _SAMPLE_BYTES) * number // (_NUM_SAMPLES - 1)",
        new="(size - _SAMPLE_BYTES) * number // _NUM_SAMPLES",
        tests=("tests/model/test_identity.py",),
    ),
    Mutant(
        file=REACH,
        old='    "sam_mask_decoder.output_hypernetworks_mlps.0.",\n',
        new="",
        tests=("tests/model/test_reach.py",),
    ),
    # files
    Mutant(file=ADAPTER, old="lora_dropout=lora.dropout", new="lora_dropout=0.0", tests=T_ADAPTER),
    Mutant(
        file=ADAPTER,
        old='alpha_over_r=config["lora_alpha"] / config["r"]',
        new='alpha_over_r=config["lora_alpha"]',
        tests=T_ADAPTER,
    ),
    Mutant(
        file=ADAPTER,
        old="if not torch.isfinite(tensor).all():",
        new="if torch.isnan(tensor).all():",
        tests=("tests/bad_inputs/test_corpus.py",),
    ),
    Mutant(file=MERGE, old="(math.sqrt(lora.r) if lora.use_rslora else lora.r)", new="lora.r", tests=T_MERGE),
    Mutant(
        file=MERGE,
        old="torch.add(weight.float(), delta).to(weight.dtype)",
        new="torch.add(weight.float(), delta)",
        tests=T_MERGE,
    ),
    Mutant(file=MERGE, old="scale * (lora_b.float()", new="1.0 * (lora_b.float()", tests=T_MERGE),
    Mutant(file=MERGE, old="return full.to(weight.dtype).contiguous()", new="return None", tests=T_MERGE),
    # what is published
    Mutant(
        file=WRITE,
        old="_MERGED_TOLERANCE if merged else _TOLERANCES[precision]",
        new="_MERGED_TOLERANCE",
        tests=T_WRITE,
    ),
    Mutant(
        file=WRITE,
        old="difference=abs(found - checkpoint.val_dice)",
        new="difference=found - checkpoint.val_dice",
        tests=T_WRITE,
    ),
    Mutant(
        file=WRITE,
        old="if not verification.difference <= verification.tolerance:",
        new="if verification.difference > verification.tolerance:",
        tests=T_WRITE,
    ),
    Mutant(file=WRITE, old='row["row"] == own[0]["row"]', new="True", tests=T_WRITE),
    Mutant(file=DURABLE, old="    _flush_files(unfinished)\n", new="", tests=T_DURABLE),
    Mutant(
        file=DURABLE,
        old="    rename_folder(unfinished, final)\n    _flush_entries(final.parent)",
        new="    rename_folder(unfinished, final)",
        tests=T_DURABLE,
    ),
    Mutant(
        file=DURABLE,
        old="            file.flush()\n            os.fsync(file.fileno())",
        new="            file.flush()",
        tests=T_DURABLE,
    ),
    Mutant(file=DURABLE, old="sizes[found.st_dev, found.st_ino]", new="sizes[place, name]", tests=T_DURABLE),
)
