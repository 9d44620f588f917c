"""Faults in what trains."""

from tests.mutants.mutant import Mutant

OPTIMIZER, SCHEDULE, LOSS = (f"tune_sa2va/train/{name}.py" for name in ("optimizer", "schedule", "loss"))
STEP, TRIAL, FEED = (f"tune_sa2va/train/{name}.py" for name in ("step", "trial", "feed"))
LIVENESS, STATE, CHECKPOINT = (f"tune_sa2va/train/{name}.py" for name in ("liveness", "checkpoint_state", "checkpoint"))
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
DEAD = trial("test_a_trial_that_trains_nothing_is_stopped_after_three_steps")
LIVE = trial(
    "test_a_matrix_without_gradient_is_named_after_three_steps", "test_a_frozen_validation_is_a_warning_or_an_error"
)

MUTANTS = (
    # AdamW
    Mutant(
        file=OPTIMIZER, old="values - values * (lr * weight_decay * decays) - lr", new="values - lr", tests=T_OPTIMIZER
    ),
    Mutant(file=OPTIMIZER, old="(lr * weight_decay * decays)", new="(lr * weight_decay)", tests=T_OPTIMIZER),
    Mutant(file=OPTIMIZER, old="(lr * weight_decay * decays)", new="(weight_decay * decays)", tests=T_OPTIMIZER),
    Mutant(file=OPTIMIZER, old="1 - _BETA_2**new_steps", new="1 - _BETA_2**steps", tests=T_OPTIMIZER),
    Mutant(file=OPTIMIZER, old="1 - _BETA_1**new_steps", new="1 - _BETA_1**(new_steps + 1)", tests=T_OPTIMIZER),
    Mutant(
        file=OPTIMIZER,
        old="_BETA_2 * exp_avg_sq + (1 - _BETA_2)",
        new="_BETA_2 * exp_avg_sq + _BETA_2",
        tests=T_OPTIMIZER,
    ),
    Mutant(file=OPTIMIZER, old=".clamp(max=1.0)", new="", tests=T_OPTIMIZER),
    Mutant(file=OPTIMIZER, old="* clipped * clipped", new="* gradient * gradient", tests=T_OPTIMIZER),
    Mutant(file=OPTIMIZER, old="norm.isfinite() & loss.isfinite()", new="loss.isfinite()", tests=T_OPTIMIZER),
    Mutant(file=OPTIMIZER, old="norm.isfinite() & loss.isfinite()", new="norm.isfinite()", tests=T_OPTIMIZER),
    Mutant(
        file=OPTIMIZER,
        old="values.copy_(torch.where(is_finite, moved, values))",
        new="values.copy_(moved)",
        tests=T_OPTIMIZER,
    ),
    Mutant(
        file=OPTIMIZER,
        old="exp_avg_sq.copy_(torch.where(is_finite, square, exp_avg_sq))",
        new="exp_avg_sq.copy_(square)",
        tests=T_OPTIMIZER,
    ),
    Mutant(
        file=OPTIMIZER,
        old="steps.copy_(torch.where(is_finite, new_steps, steps))",
        new="steps.copy_(new_steps)",
        tests=T_OPTIMIZER,
    ),
    Mutant(
        file=OPTIMIZER,
        old="torch.where(is_finite | (failure[0] > 0), failure",
        new="torch.where(is_finite, failure",
        tests=T_OPTIMIZER,
    ),
    Mutant(
        file=OPTIMIZER,
        old="        self.gradients.zero_()\n        self._store.refresh()",
        new="        self._store.refresh()",
        tests=T_OPTIMIZER,
    ),
    Mutant(
        file=OPTIMIZER,
        old="        self.gradients.zero_()\n        self._store.refresh()",
        new="        self.gradients.zero_()",
        tests=T_OPTIMIZER,
    ),
    Mutant(file=OPTIMIZER, old="views[name].fill_(False)", new="views[name].fill_(True)", tests=T_OPTIMIZER),
    Mutant(file=OPTIMIZER, old="        self.decays.fill_(True)\n", new="", tests=T_OPTIMIZER),
    Mutant(file=OPTIMIZER, old="self.steps.fill_(steps)", new="self.steps.fill_(steps - 1)", tests=T_OPTIMIZER),
    Mutant(
        file=OPTIMIZER,
        old="self.gradients[start : start + len(joined)] += joined",
        new="self.gradients[start : start + len(joined)] = joined",
        tests=T_OPTIMIZER,
    ),
    # the learning rate
    Mutant(file=SCHEDULE, old="settings.lr * (step + 1) /", new="settings.lr * step /", tests=T_SCHEDULE),
    Mutant(file=SCHEDULE, old="/ (warmup_steps + 1)", new="/ warmup_steps", tests=T_SCHEDULE),
    Mutant(file=SCHEDULE, old="(step - warmup_steps) / max", new="step / max", tests=T_SCHEDULE),
    Mutant(file=SCHEDULE, old="max(1, total_steps - warmup_steps)", new="max(1, total_steps)", tests=T_SCHEDULE),
    Mutant(file=SCHEDULE, old="0.5 * (1 + math.cos", new="0.5 * (1 - math.cos", tests=T_SCHEDULE),
    # the mask losses
    Mutant(file=LOSS, old="        prob = prob * valid\n", new="        pass\n", tests=T_LOSS),
    Mutant(
        file=LOSS,
        old="(pixels * valid).sum(dim=(-2, -1)) / valid.sum(dim=(-2, -1))",
        new="(pixels * valid).mean(dim=(-2, -1))",
        tests=T_LOSS,
    ),
    Mutant(file=LOSS, old="(pixels * valid).sum", new="pixels.sum", tests=T_LOSS),
    Mutant(file=LOSS, old="(2 * overlap + 1) / (sizes + 1)", new="2 * overlap / (sizes + 1e-6)", tests=T_LOSS),
    Mutant(file=LOSS, old="-(1 - alpha) * torch.exp", new="-alpha * torch.exp", tests=T_LOSS),
    Mutant(file=LOSS, old="torch.exp(gamma * log_not_p) * log_p", new="torch.exp(gamma * log_p) * log_p", tests=T_LOSS),
    Mutant(
        file=LOSS, old="weights.focal * focal + weights.bce", new="weights.focal * focal + weights.dice", tests=T_LOSS
    ),
    # a step
    Mutant(file=STEP, old="knobs, valid)", new="knobs)", tests=T_STEP),
    Mutant(
        file=STEP,
        old="batch_counts(logits.detach(), batch.truth, valid)",
        new="batch_counts(logits.detach(), batch.truth, valid | True)",
        tests=T_STEP,
    ),
    Mutant(file=STEP, old="parts.total + knobs.lm * lm_loss", new="parts.total + lm_loss", tests=NUMBERS),
    Mutant(file=STEP, old='reduction="none").mean(dim=1)', new='reduction="none").sum(dim=1)', tests=NUMBERS),
    Mutant(
        file=STEP,
        old="self._share.fill_(1 / chunk_size)",
        new="self._share.fill_(1 / len(batch.input_ids))",
        tests=T_STEP,
    ),
    Mutant(file=STEP, old="self.optimizer.lr.fill_(lr)", new="self.optimizer.lr.fill_(1.0)", tests=T_STEP),
    Mutant(file=STEP, old="        if is_failed:\n", new="        if is_failed > 1:\n", tests=T_STEP),
    Mutant(file=STEP, old="losses.detach().sum(dim=0)", new="losses.detach().mean(dim=0)", tests=T_STEP),
    Mutant(
        file=STEP,
        old="on_canvas(batch, mask_logits(self._model, batch, hidden[:, 0]))",
        new="on_canvas(batch, mask_logits(self._model, batch, hidden[:, -1]))",
        tests=NUMBERS,
    ),
    Mutant(
        file=STEP,
        old="dist.ReduceOp.MIN",
        new="dist.ReduceOp.MAX",
        survives="What a loss reaches is the same on every worker that has images; a worker without any in the first "
        "step knows nothing, which no test on a few images brings about.",
    ),
    # an epoch
    Mutant(file=TRIAL, old="manual_seed(train.seed * 100_003 + epoch))", new="manual_seed(epoch))", tests=ORDER),
    Mutant(
        file=TRIAL,
        old="manual_seed(train.seed * 100_003 + epoch))",
        new="manual_seed(train.seed * 100_003))",
        tests=ORDER,
    ),
    Mutant(file=TRIAL, old="* 1_009 + self._rank)", new="* 1_009)", tests=DROPOUT),
    Mutant(
        file=TRIAL, old="torch.manual_seed((train.seed * 100_003 + epoch)", new="torch.manual_seed(epoch", tests=DROPOUT
    ),
    Mutant(file=TRIAL, old="        self._adapters.train(True)\n", new="", tests=DROPOUT),
    Mutant(file=TRIAL, old="step = self._progress.step + number", new="step = number", tests=RATES),
    Mutant(file=TRIAL, old="len(chunks) * train.epochs", new="len(chunks)", tests=RATES),
    Mutant(file=TRIAL, old="step=self._progress.step + num_steps", new="step=num_steps", tests=RESUMED),
    Mutant(
        file=TRIAL,
        old="                self._stepper.store.refresh()\n",
        new="",
        survives="In fp32 modules compute with the values themselves; a bf16 base is for GPUs. `test_modules_compute_with_"
        "the_new_values_in_the_bases_dtype` has the same call after a step.",
    ),
    Mutant(
        file=TRIAL,
        old="float(self._stepper.optimizer.norm_sum) / num_steps",
        new="float(self._stepper.optimizer.norm_sum)",
        tests=NUMBERS,
    ),
    Mutant(
        file=TRIAL,
        old="(losses / len(self._train))",
        new="(losses / len(counts))",
        survives="Rows of counts are as many as images, on one worker and on two.",
    ),
    Mutant(file=TRIAL, old="val_iou=scores.iou", new="val_iou=scores.dice", tests=NUMBERS),
    Mutant(file=TRIAL, old="val_recall=scores.recall", new="val_recall=scores.precision", tests=NUMBERS),
    Mutant(
        file=TRIAL,
        old="train_dice=mean_scores(to_counts(train_counts)).dice",
        new="train_dice=scores.dice",
        tests=NUMBERS,
    ),
    Mutant(file=TRIAL, old="found[: len(fed.indices)]", new="found[-len(fed.indices) :]", tests=NUMBERS),
    Mutant(file=TRIAL, old="if self._progress.step == 0:", new="if self._progress.step > 0:", tests=DEAD),
    Mutant(file=TRIAL, old="            self._liveness.after_step(step)\n", new="            pass\n", tests=DEAD),
    Mutant(
        file=TRIAL,
        old="            if number == 0 and train.full_modules:\n",
        new="            if number < 0:\n",
        tests=trial("test_weight_decay_leaves_alone_what_no_loss_reaches"),
    ),
    Mutant(
        file=TRIAL,
        old="        self._adapters.detach()\n",
        new="        pass\n",
        tests=trial("test_training_lowers_the_loss_and_leaves_the_base_untouched"),
    ),
    # batches
    Mutant(
        file=FEED, old="size = batch_size if len(indices) == batch_size else 1", new="size = batch_size", tests=T_FEED
    ),
    Mutant(file=FEED, old="[examples[-1]] * (batch_size - len(examples))", new="[]", tests=T_FEED),
    Mutant(
        file=FEED,
        old="        for shape, group in open_groups.items():\n            yield shape, *group\n",
        new="",
        tests=T_FEED,
    ),
    Mutant(
        file=FEED,
        old="self._to_device(indices[part], shape, examples[part])",
        new="self._to_device(indices[part], shape, examples[: len(indices[part])])",
        tests=T_FEED,
    ),
    # proof that training trains
    Mutant(file=LIVENESS, old="if norm != 0}", new="}", tests=LIVE),
    Mutant(
        file=LIVENESS,
        old="self._unproven | set(still)",
        new="self._unproven & set(still)",
        tests=trial("test_a_matrix_that_does_not_move_is_named_too"),
    ),
    Mutant(file=LIVENESS, old="    if not moved:\n", new="    if moved:\n", tests=LIVE),
    # checkpoints
    Mutant(file=STATE, old='"train.micro_batch_size": 1, ', new="", tests=T_STATE),
    Mutant(file=STATE, old='train.accumulation_steps": chunk', new='train.accumulation_steps": 1', tests=T_STATE),
    Mutant(file=STATE, old="sha256(folder / name) != wanted", new="not (folder / name).exists()", tests=T_STATE),
    Mutant(
        file=CHECKPOINT,
        old="optimizer.load_moments(load_file(folder / OPTIMIZER_FILE), config.lora.r, steps=progress.step)",
        new="pass",
        tests=RESUMED,
    ),
    Mutant(
        file=CHECKPOINT,
        old="progress.epoch < config.train.epochs\n        moments",
        new="True\n        moments",
        tests=trial("test_the_last_epoch_leaves_the_adapter_alone"),
    ),
    # what a lane keeps
    Mutant(
        file=ENGINE,
        old="self._any_dropout or config.lora.dropout > 0",
        new="self._any_dropout",
        survives="Whether steps can drop is a matter of graphs, which a CPU has not; the adapters switch dropout on themselves.",
    ),
    Mutant(
        file=WORKBENCH,
        old='if sample.split == part] for part in ("train", "val")}',
        new='if sample.split != "test"] for part in ("train", "val")}',
        tests=("tests/train/test_workbench.py",),
    ),
    Mutant(
        file=GRAPHS,
        old="inputs.copy_from(batch)",
        new="pass",
        survives="No graph is captured without a GPU. `bench step` compares losses with eager ones.",
    ),
)
