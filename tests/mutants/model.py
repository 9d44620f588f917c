"""Faults in the model's adapters, layers and files, and in what is exported of them."""

from tests.mutants.mutant import Mutant

STORE, LORA, LAYERS, UPSAMPLE = (
    f"tune_sa2va/model/{n}.py" for n in ("adapter_store", "lora", "fused_layers", "upsample")
)
ADAPTER, REACH = (f"tune_sa2va/model/{n}.py" for n in ("adapter", "reach"))
PROMPT, PREPROCESS, IDENTITY = (f"tune_sa2va/model/{n}.py" for n in ("prompt", "preprocess", "identity"))
SA2VA = "tune_sa2va/model/sa2va.py"
MERGE, WRITE, DURABLE = "tune_sa2va/export/merge.py", "tune_sa2va/export/write.py", "tune_sa2va/durable.py"

T_STORE = ("tests/model/test_adapter_store.py",)
T_LORA = ("tests/model/test_lora.py",)
T_LAYERS = ("tests/model/test_fused_layers.py",)
T_UPSAMPLE = ("tests/model/test_upsample.py",)
T_ADAPTER = ("tests/model/test_adapter.py",)
T_MERGE = ("tests/export/test_merge.py",)
T_WRITE = ("tests/export/test_write.py",)
T_DURABLE = ("tests/test_durable.py",)
T_PROMPT = ("tests/model/test_prompt.py",)

PROJECTION = "tune_sa2va/model/projection.py"
DROPOUT = "tune_sa2va/model/dropout.py"
FP8, T_FP8 = "tune_sa2va/model/fp8.py", ("tests/model/test_fp8.py",)
MUTANTS = (
    # a base in 8 bits
    Mutant(FP8, "quantise_rows(gradient * scale)", "quantise_rows(gradient)", T_FP8),
    Mutant(FP8, ".clamp(min=SMALLEST_SCALE)", "", T_FP8),
    Mutant(FP8, "(None, None) if copies == 1 else quantise_rows(weight.t())", "quantise_rows(weight.t())", T_FP8),
    # dropout
    Mutant(STORE, "/ per_image((1 - self.dropout).to(x.dtype), x)", "", T_STORE),
    Mutant(DROPOUT, "numbers >= (probability", "numbers < (probability", T_STORE),
    Mutant(PROJECTION, "x * keep / per_image((1 - probability).to(x.dtype), x)", "x * keep", T_LAYERS),
    Mutant(
        LAYERS,
        "not store.is_dropping or ",
        "",
        ("tests/model/test_fused_layers.py::test_dropout_is_off_in_evaluation",),
    ),
    Mutant(
        LAYERS,
        "preserve_rng_state=False",
        "preserve_rng_state=True",
        survives="Masks are drawn outside, so nothing random runs again; on a GPU a capture would fail.",
    ),
    # where numbers lie
    Mutant(STORE, "// ALIGN) * ALIGN", "// 1) * 1", T_STORE),
    Mutant(
        STORE,
        "0, encoder_rank if slot.in_encoder else rank)",
        "slot.shape[slot.rank_dim] - rank, encoder_rank if slot.in_encoder else rank)",
        T_STORE,
    ),
    Mutant(
        STORE,
        "            self._low.copy_(self.values[..., : self._num_low])",
        "            pass",
        ("tests/train/test_optimizer.py",),
    ),
    # LoRA
    Mutant(LORA, "(math.sqrt(adapters.r) if lora.use_rslora else adapters.r)", "adapters.r", T_LORA),
    Mutant(
        "tune_sa2va/model/lora_linear.py",
        "scaled(seat_linear(dropped, self.lora_A), self.scale)",
        "seat_linear(dropped, self.lora_A)",
        T_LORA,
    ),
    Mutant(LORA, "bound = 1 / math.sqrt(in_features)", "bound = 1 / in_features", T_LORA),
    Mutant(LORA, 'f"{seed} {reference}".encode()', 'f"{reference}".encode()', T_LORA),
    Mutant(
        LORA,
        'f"{seed} {reference}".encode()',
        'f"{seed}".encode()',
        ("tests/model/test_lora.py::test_modules_start_with_other_numbers",),
    ),
    Mutant(
        LORA,
        "        values.zero_()\n",
        "",
        ("tests/train/test_trial.py::test_a_loss_that_is_not_finite_fails_the_trial_and_spares_the_next",),
    ),
    Mutant(LORA, "seat).fill_(lora.dropout)", "seat).fill_(0.0)", T_LORA),
    Mutant(LORA, "self.parameters[name].copy_(initial)", "pass", T_LORA),
    # the layers
    Mutant(PROJECTION, "if keep is None else", "if keep is not None else", T_LAYERS),
    Mutant(PROJECTION, "dim=-2)), scale)", "dim=-2)), scale * 0 + 1)", T_LAYERS),
    Mutant(LAYERS, "is_causal=True", "is_causal=False", T_LAYERS),
    Mutant(LAYERS, "torch.cat((-high, low), dim=-1)", "torch.cat((high, low), dim=-1)", T_LAYERS),
    Mutant(LAYERS, "F.silu(gate) * up", "F.silu(up) * gate", T_LAYERS),
    Mutant(LAYERS, "context is not None and number < context.deepstack.shape[1]", "False", T_LAYERS),
    Mutant(SA2VA, "self.iou_scores.argmax(dim=1)", "self.iou_scores.argmin(dim=1)", ("tests/model/test_parity.py",)),
    Mutant(
        SA2VA,
        "stride_16 + self.no_mem_embed.view(1, -1, 1, 1).to(stride_16.dtype)",
        "stride_16",
        ("tests/model/test_parity.py",),
    ),
    # masks on the image's pixels
    Mutant(UPSAMPLE, "F.pad(rows, (0, 0, 0, canvas - length))", "F.pad(rows, (0, 0, canvas - length, 0))", T_UPSAMPLE),
    Mutant(
        UPSAMPLE,
        'F.interpolate(square, length, mode="linear", align_corners=False)',
        'F.interpolate(square, length, mode="linear", align_corners=True)',
        T_UPSAMPLE,
    ),
    Mutant(
        UPSAMPLE,
        "F.interpolate(square, (height, width)",
        "F.interpolate(mask_logits.float()[:, None], (height, width)",
        T_UPSAMPLE,
    ),
    # text and pictures
    Mutant(PROMPT, "len(prompt_ids) + answer_ids.index(self.seg_id)", "len(prompt_ids) + len(answer_ids)", T_PROMPT),
    Mutant(PROMPT, "len(prompt_ids) + len(answer_ids)\n", "len(prompt_ids) + len(answer_ids) - 1\n", T_PROMPT),
    Mutant(
        PREPROCESS,
        "(pictures - mean) / deviation",
        "pictures - mean",
        ("tests/model/test_preprocess.py",),
    ),
    Mutant(PREPROCESS, "> 0.5 * dims.tile_size**2", "> 0.9 * dims.tile_size**2", ("tests/model/test_preprocess.py",)),
    Mutant(
        IDENTITY,
        "(size - _SAMPLE_BYTES) * number // (_NUM_SAMPLES - 1)",
        "(size - _SAMPLE_BYTES) * number // _NUM_SAMPLES",
        ("tests/model/test_identity.py",),
    ),
    Mutant(REACH, '    "sam_mask_decoder.output_hypernetworks_mlps.0.",\n', "", ("tests/model/test_reach.py",)),
    # files
    Mutant(ADAPTER, "lora_dropout=lora.dropout", "lora_dropout=0.0", T_ADAPTER),
    Mutant(ADAPTER, 'alpha_over_r=config["lora_alpha"] / config["r"]', 'alpha_over_r=config["lora_alpha"]', T_ADAPTER),
    Mutant(
        ADAPTER,
        "if not torch.isfinite(tensor).all():",
        "if torch.isnan(tensor).all():",
        ("tests/bad_inputs/test_corpus.py::test_a_bad_input[adapter: one value infinite]",),
    ),
    Mutant(MERGE, "torch.add(weight.float(), delta).to(weight.dtype)", "torch.add(weight.float(), delta)", T_MERGE),
    Mutant(MERGE, "read.scale_of(module.removeprefix(PEFT_PREFIX)) * (", "1.0 * (", T_MERGE),
    Mutant(MERGE, "return full.to(weight.dtype).contiguous()", "return None", T_MERGE),
    # what is published
    Mutant(WRITE, "_MERGED_TOLERANCE if proof.merged else 0.0", "_MERGED_TOLERANCE", T_WRITE),
    Mutant(WRITE, "difference=abs(found - recorded)", "difference=found - recorded", T_WRITE),
    Mutant(
        WRITE,
        "if not verification.difference <= verification.tolerance:",
        "if verification.difference > verification.tolerance:",
        T_WRITE,
    ),
    Mutant(WRITE, 'own["row"] == own["row"].iloc[-1]', 'own["row"] != ""', T_WRITE),
    Mutant(
        WRITE,
        'own = locked.scores[locked.scores["checkpoint"] == label]',
        'own = locked.scores[locked.scores["row"] == "winner"]',
        T_WRITE,
    ),
    Mutant(DURABLE, "    _flush_files(unfinished)\n", "", T_DURABLE),
    Mutant(
        DURABLE,
        "    rename_folder(unfinished, final)\n    _flush_entries(final.parent)",
        "    rename_folder(unfinished, final)",
        T_DURABLE,
    ),
    Mutant(
        DURABLE, "            file.flush()\n            os.fsync(file.fileno())", "            file.flush()", T_DURABLE
    ),
    Mutant(DURABLE, "sizes[found.st_dev, found.st_ino]", "sizes[place, name]", T_DURABLE),
)
