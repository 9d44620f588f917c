"""Faults in what trains."""

from tests.mutants.mutant import Mutant

OPTIMIZER, SCHEDULE, LOSS = (f"tune_sa2va/train/{name}.py" for name in ("optimizer", "schedule", "loss"))
MICRO_BATCHES = "tune_sa2va/lane/micro_batches.py"
STEP, TRIAL, EPOCH, FEED = (f"tune_sa2va/train/{name}.py" for name in ("step", "trial", "epoch", "feed"))
LIVENESS, STATE, CHECKPOINT = (f"tune_sa2va/train/{name}.py" for name in ("liveness", "checkpoint_state", "checkpoint"))
HOST_MEMORY = "tune_sa2va/train/host_memory.py"
ENGINE, WORKBENCH, GRAPHS = (f"tune_sa2va/train/{name}.py" for name in ("engine", "workbench", "graphs"))

T_OPTIMIZER = ("tests/train/test_optimizer.py",)
T_SCHEDULE = ("tests/train/test_schedule.py",)
T_LOSS = ("tests/train/test_loss.py",)
T_STEP = ("tests/train/test_step.py",)
T_FEED = ("tests/train/test_feed.py",)
T_STATE = ("tests/train/test_checkpoint_state.py",)


def trial(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/train/test_trial.py::{name}" for name in names)


NUMBERS = trial("test_an_epochs_numbers_are_those_of_its_images")
RATES = trial("test_the_learning_rate_goes_on_over_epochs_and_restarts")
ORDER = trial("test_each_epoch_shows_every_image_once_in_an_order_of_its_seed")
DROPOUT = trial("test_each_worker_draws_dropout_of_its_own")
RESUMED = trial("test_resuming_gives_bit_for_bit_the_uninterrupted_numbers")
TOGETHER = ("tests/train/test_seats.py::test_each_is_what_it_would_be_alone_whoever_comes_and_goes",)
DEAD = trial("test_a_trial_that_trains_nothing_is_stopped_after_three_steps")
LIVE = trial(
    "test_a_matrix_without_gradient_is_named_after_three_steps", "test_a_frozen_validation_is_a_warning_or_an_error"
)

MUTANTS = (
    # AdamW
    Mutant(OPTIMIZER, "values - values * (lr * weight_decay * decays) - lr", "values - lr", T_OPTIMIZER),
    Mutant(OPTIMIZER, "(lr * weight_decay * decays)", "(lr * weight_decay)", T_OPTIMIZER),
    Mutant(OPTIMIZER, "(lr * weight_decay * decays)", "(weight_decay * decays)", T_OPTIMIZER),
    Mutant(OPTIMIZER, "1 - _BETA_2**new_steps", "1 - _BETA_2**steps", T_OPTIMIZER),
    Mutant(OPTIMIZER, "1 - _BETA_1**new_steps", "1 - _BETA_1**(new_steps + 1)", T_OPTIMIZER),
    Mutant(OPTIMIZER, "_BETA_2 * exp_avg_sq + (1 - _BETA_2)", "_BETA_2 * exp_avg_sq + _BETA_2", T_OPTIMIZER),
    Mutant(OPTIMIZER, ".clamp(max=1.0)", "", T_OPTIMIZER),
    Mutant(OPTIMIZER, "* clipped * clipped", "* gradient * gradient", T_OPTIMIZER),
    Mutant(OPTIMIZER, "norm.isfinite() & loss.isfinite()", "loss.isfinite()", T_OPTIMIZER),
    Mutant(OPTIMIZER, "norm.isfinite() & loss.isfinite()", "norm.isfinite()", T_OPTIMIZER),
    Mutant(OPTIMIZER, "values.copy_(torch.where(steps_taken, moved, values))", "values.copy_(moved)", T_OPTIMIZER),
    Mutant(
        OPTIMIZER,
        "exp_avg_sq.copy_(torch.where(steps_taken, square, exp_avg_sq))",
        "exp_avg_sq.copy_(square)",
        T_OPTIMIZER,
    ),
    Mutant(OPTIMIZER, "steps.add_(is_finite & is_on)", "steps.add_(is_on)", T_OPTIMIZER),
    Mutant(OPTIMIZER, "is_finite | ~is_on | (failure[..., 0] > 0)", "is_finite | ~is_on", T_OPTIMIZER),
    Mutant(OPTIMIZER, "steps_taken = (is_finite & is_on)", "steps_taken = is_finite", TOGETHER),
    Mutant(OPTIMIZER, "1.0)\n    average.add_", "0.5)\n    average.add_", TOGETHER),
    Mutant(
        OPTIMIZER,
        "        self.gradients.zero_()\n        self._store.refresh()",
        "        self._store.refresh()",
        T_OPTIMIZER,
    ),
    Mutant(
        OPTIMIZER,
        "        self.gradients.zero_()\n        self._store.refresh()",
        "        self.gradients.zero_()",
        T_OPTIMIZER,
    ),
    Mutant(OPTIMIZER, "views[name].fill_(False)", "views[name].fill_(True)", T_OPTIMIZER),
    Mutant(OPTIMIZER, "        of(self.decays, seat).fill_(True)\n", "", T_OPTIMIZER),
    Mutant(OPTIMIZER, ".fill_(steps)", ".fill_(steps - 1)", T_OPTIMIZER),
    Mutant(
        OPTIMIZER,
        "self.gradients[..., start : start + joined.shape[-1]] += joined",
        "self.gradients[..., start : start + joined.shape[-1]] = joined",
        T_OPTIMIZER,
    ),
    # the learning rate
    Mutant(SCHEDULE, "settings.lr * (step + 1) /", "settings.lr * step /", T_SCHEDULE),
    Mutant(SCHEDULE, "/ (warmup_steps + 1)", "/ warmup_steps", T_SCHEDULE),
    Mutant(SCHEDULE, "(step - warmup_steps) / max", "step / max", T_SCHEDULE),
    Mutant(SCHEDULE, "max(1, total_steps - warmup_steps)", "max(1, total_steps)", T_SCHEDULE),
    Mutant(SCHEDULE, "0.5 * (1 + math.cos", "0.5 * (1 - math.cos", T_SCHEDULE),
    # the mask losses
    Mutant(
        LOSS,
        "prob = prob * valid\n    overlap = (prob * truth).sum(dim=(-2, -1))\n    sizes",
        "pass\n    overlap = (prob * truth).sum(dim=(-2, -1))\n    sizes",
        T_LOSS,
    ),
    Mutant(
        LOSS,
        "(pixels * valid).sum(dim=(-2, -1)) / valid.sum(dim=(-2, -1))",
        "(pixels * valid).mean(dim=(-2, -1))",
        T_LOSS,
    ),
    Mutant(LOSS, "(pixels * valid).sum", "pixels.sum", T_LOSS),
    Mutant(LOSS, "(2 * overlap + 1) / (sizes + 1)", "2 * overlap / (sizes + 1e-6)", T_LOSS),
    Mutant(LOSS, "-(1 - alpha) * torch.exp", "-alpha * torch.exp", T_LOSS),
    Mutant(LOSS, "torch.exp(gamma * log_not_p) * log_p", "torch.exp(gamma * log_p) * log_p", T_LOSS),
    Mutant(LOSS, "weights.focal * focal + weights.bce", "weights.focal * focal + weights.dice", T_LOSS),
    # a step
    Mutant(STEP, "knobs, valid, skeletons)", "knobs, None, skeletons)", T_STEP),
    Mutant(STEP, "mask_logits, dynamic=False)", "mask_logits)", T_STEP),
    Mutant(
        STEP,
        "batch_counts(logits.detach(), batch.truth, valid)",
        "batch_counts(logits.detach(), batch.truth, valid | True)",
        T_STEP,
    ),
    Mutant(STEP, "parts.total + knobs.lm * lm_loss", "parts.total + lm_loss", NUMBERS),
    Mutant(STEP, 'reduction="none").mean(dim=1)', 'reduction="none").sum(dim=1)', NUMBERS),
    Mutant(STEP, "_put(share, self._share)", "_put(1.0, self._share)", T_STEP),
    Mutant(STEP, "_put(lr, self.optimizer.lr)", "_put(1.0, self.optimizer.lr)", T_STEP),
    Mutant(STEP, "            if is_failed\n", "            if is_failed > 1\n", T_STEP),
    Mutant(STEP, "(*self.store.lead, -1)).sum(dim=-2)", "(*self.store.lead, -1)).mean(dim=-2)", T_STEP),
    Mutant(STEP, "torch.where(knobs.cldice > 0, parts.cldice, 0.0)", "parts.cldice", TOGETHER),
    Mutant(STEP, "torch.where(knobs.lm > 0, lm_loss, 0.0)", "lm_loss", TOGETHER),
    Mutant(STEP, "self.store.draws += is_shown", "pass", TOGETHER),
    Mutant(
        STEP,
        "on_canvas(batch, mask_logits(self._model, batch, hidden[:, 0]))",
        "on_canvas(batch, mask_logits(self._model, batch, hidden[:, -1]))",
        NUMBERS,
    ),
    Mutant(
        STEP,
        "dist.ReduceOp.MIN",
        "dist.ReduceOp.MAX",
        survives="What a loss reaches is the same on every worker that has images; a worker without any in the first "
        "step knows nothing, which no test on a few images brings about.",
    ),
    # an epoch
    Mutant(TRIAL, "generator=torch.Generator().manual_seed(seed)", "generator=torch.Generator()", ORDER),
    Mutant(TRIAL, "seed = train.seed * 100_003 + epoch", "seed = epoch", ORDER),
    Mutant(TRIAL, "seed = train.seed * 100_003 + epoch", "seed = train.seed * 100_003", ORDER),
    Mutant(TRIAL, "* 1_009 + self.rank)", "* 1_009)", DROPOUT),
    Mutant(TRIAL, "seed(self.seat, seed * 1_009", "seed(self.seat, epoch * 1_009", DROPOUT),
    Mutant(
        EPOCH, "is_dropping = any(trial.adapters.drops for", "is_dropping = all(not trial.adapters.drops for", DROPOUT
    ),
    Mutant(TRIAL, "learning_rate(first + number,", "learning_rate(number,", RATES),
    Mutant(TRIAL, "num_steps * self.config.train.epochs", "num_steps", RATES),
    Mutant(TRIAL, "step=before.step + trained.num_steps", "step=trained.num_steps", RATES),
    Mutant(
        TRIAL,
        "                self.stepper.store.refresh()\n",
        "",
        survives="In fp32 modules compute with the values themselves; a bf16 base is for GPUs. test_optimizer.py has "
        "the same call after a step.",
    ),
    Mutant(EPOCH, "norms[seat] / num,", "norms[seat],", NUMBERS),
    Mutant(
        TRIAL,
        "(losses / len(self._train))",
        "(losses / len(counts))",
        survives="Rows of counts are as many as images, on one worker and on two.",
    ),
    Mutant(TRIAL, "val_iou=scores.iou", "val_iou=scores.dice", NUMBERS),
    Mutant(TRIAL, "val_recall=scores.recall", "val_recall=scores.precision", NUMBERS),
    Mutant(TRIAL, "train_dice=mean_scores(to_counts(train_counts)).dice", "train_dice=scores.dice", NUMBERS),
    Mutant(EPOCH, "counted[:, : len(fed.indices)]", "counted[:, -len(fed.indices) :]", NUMBERS),
    Mutant(TRIAL, "if self._progress.step == 0:", "if self._progress.step > 0:", DEAD),
    Mutant(TRIAL, "            self._liveness.after_step(self._progress.step + number)\n", "            pass\n", DEAD),
    Mutant(
        EPOCH,
        "            if number == 0 and alike.full_modules:\n",
        "            if number < 0:\n",
        trial("test_weight_decay_leaves_alone_what_no_loss_reaches"),
    ),
    Mutant(
        TRIAL,
        "            self.adapters.detach()\n",
        "            pass\n",
        trial("test_training_lowers_the_loss_and_leaves_the_base_untouched"),
    ),
    # batches
    Mutant(FEED, "size = batch_size if len(indices) == batch_size else 1", "size = batch_size", T_FEED),
    Mutant(FEED, "[examples[-1]] * (batch_size - len(examples))", "[]", T_FEED),
    Mutant(FEED, "        for shape, group in open_groups.items():\n            yield shape, *group\n", "", T_FEED),
    Mutant(
        FEED,
        "_Piece(shape, indices[part], examples[part])",
        "_Piece(shape, indices[part], examples[: len(indices[part])])",
        T_FEED,
    ),
    # proof that training trains
    Mutant(LIVENESS, "if norm != 0}", "}", LIVE),
    Mutant(
        LIVENESS,
        "self._unproven | set(still)",
        "self._unproven & set(still)",
        trial("test_a_matrix_that_does_not_move_is_named_too"),
    ),
    Mutant(LIVENESS, "    if not moved:\n", "    if moved:\n", LIVE),
    # checkpoints
    Mutant(
        CHECKPOINT,
        "piece.view(tensor.shape).copy_(tensor.detach().contiguous(), non_blocking=is_cuda)",
        "tensor.detach()",
        trial("test_a_checkpoint_is_of_the_moment_when_it_was_begun"),
    ),
    Mutant(HOST_MEMORY, "min(large, key=_size)", "large[0]", ("tests/train/test_host_memory.py",)),
    Mutant(STATE, 'values.pop("train.micro_batch_size")', 'values["train.micro_batch_size"]', T_STATE),
    Mutant(STATE, 'values | {"images_a_step": images}', "values", T_STATE),
    Mutant(STATE, "sha256(folder / name) != wanted", "not (folder / name).exists()", T_STATE),
    Mutant(
        CHECKPOINT,
        "optimizer.load_moments(moments, config.lora.r, config.encoder.r, steps=progress.step, seat=seat)",
        "pass",
        RESUMED,
    ),
    Mutant(
        CHECKPOINT,
        "progress.epoch < config.train.epochs\n        moments",
        "True\n        moments",
        trial("test_the_last_epoch_leaves_the_adapter_alone"),
    ),
    # a trial that ran out of memory
    Mutant(
        MICRO_BATCHES,
        '"train.accumulation_steps": train.accumulation_steps * 2',
        '"train.accumulation_steps": train.accumulation_steps',
        ("tests/lane/test_micro_batches.py", "tests/lane/test_trainable.py"),
    ),
    # what a lane keeps
    Mutant(
        ENGINE,
        "self._any_dropout or config.lora.dropout > 0",
        "self._any_dropout",
        survives="Whether steps can drop matters to graphs, which a CPU has not; adapters switch dropout themselves.",
    ),
    Mutant(
        WORKBENCH,
        'if sample.split == part] for part in ("train", "val")}',
        'if sample.split != "test"] for part in ("train", "val")}',
        ("tests/train/test_workbench.py",),
    ),
    Mutant(
        GRAPHS,
        "inputs.copy_from(batch)",
        "pass",
        survives="No graph is captured without a GPU. `bench step` compares losses with eager ones.",
    ),
)
