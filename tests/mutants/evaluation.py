"""Faults in what is measured, and in what the report says of it."""

from tests.mutants.mutant import Mutant

BATCH, METRICS, THRESHOLD = (f"tune_sa2va/evaluate/{n}.py" for n in ("batch", "metrics", "threshold"))
DISTANCE, TOPOLOGY, SCORES = (f"tune_sa2va/evaluate/{n}.py" for n in ("distance", "topology", "scores"))
EXAMPLES, BOOTSTRAP = (f"tune_sa2va/evaluate/{n}.py" for n in ("examples", "bootstrap"))
PAIRED, LOCKED = "tune_sa2va/evaluate/paired.py", "tune_sa2va/results/test_scores.py"
TEST_PART = "tune_sa2va/score/test_part.py"
CONFIRMATION = "tune_sa2va/propose/confirmation.py"

T_STEP = ("tests/train/test_step.py",)
T_METRICS = ("tests/evaluate/test_metrics.py",)
T_THRESHOLD = ("tests/evaluate/test_threshold.py",)
T_DISTANCE = ("tests/evaluate/test_distance.py",)
T_TOPOLOGY = ("tests/evaluate/test_topology.py",)
T_SCORES = ("tests/evaluate/test_scores.py",)
T_BOOTSTRAP = ("tests/evaluate/test_bootstrap.py",)
T_VERDICT = ("tests/evaluate/test_paired.py",)
T_LOCKED = ("tests/results/test_test_scores.py",)
T_TEST_PART = ("tests/score/test_test_part.py",)
T_CONFIRMATION = ("tests/propose/test_confirmation.py",)

MUTANTS = (
    # a batch
    Mutant(
        BATCH,
        "(logits > 0) & valid",
        "logits > 0",
        survives="Beyond the image logits are exactly 0 (zero rows of the matrices), which is no vessel.",
    ),
    Mutant(BATCH, "(logits > 0) & valid", "(logits >= 0) & valid", T_STEP),
    Mutant(BATCH, "~mask & ~truth & valid", "~mask & ~truth", T_STEP),
    Mutant(
        BATCH,
        "torch.tensor([tokens.seg_position]), answer - 1",
        "torch.tensor([tokens.seg_position]), answer",
        ("tests/train/test_trial.py::test_an_epochs_numbers_are_those_of_its_images",),
    ),
    Mutant(
        BATCH,
        "max(tokens.seg_position + 1,",
        "max(tokens.seg_position,",
        ("tests/train/test_trial.py::test_a_batch_of_two_is_two_forwards_of_one",),
    ),
    Mutant(BATCH, "place[: example.truth.shape[0], : example.truth.shape[1]] = example.truth", "pass", T_STEP),
    Mutant(BATCH, "example.truth.shape[1], shape.width", "example.truth.shape[0], shape.width", T_STEP),
    # overlap
    Mutant(
        METRICS,
        "self._share(2 * self.tp, 2 * self.tp + self.fp + self.fn)",
        "self._share(2 * self.tp, 2 * self.tp + self.fp)",
        T_METRICS,
    ),
    Mutant(METRICS, "self._share(self.tp, self.tp + self.fn)", "self._share(self.tp, self.tp + self.fp)", T_METRICS),
    Mutant(METRICS, "self.tp + self.fp + self.fn == 0", "self.tp + self.fn == 0", T_METRICS),
    Mutant(METRICS, "num_absent=sum(image.is_absent for image in counts)", "num_absent=0", T_METRICS),
    Mutant(METRICS, "return self.is_absent and self.fp > 0", "return self.fp > 0", T_METRICS),
    # the threshold
    Mutant(THRESHOLD, "first = GRID.index(threshold) + 1", "first = GRID.index(threshold)", T_THRESHOLD),
    Mutant(THRESHOLD, "torch.bucketize(logits, edges)", "torch.bucketize(logits, edges, right=True)", T_THRESHOLD),
    Mutant(THRESHOLD, "-abs(t - DEFAULT_THRESHOLD)", "abs(t - DEFAULT_THRESHOLD)", T_THRESHOLD),
    Mutant(THRESHOLD, "threshold / (1 - threshold)", "threshold / (1 + threshold)", T_SCORES),
    # outlines and trees
    Mutant(DISTANCE, "distance_HW[from_HW], 95)", "distance_HW[from_HW], 100)", T_DISTANCE),
    Mutant(DISTANCE, "return max(_directed_95", "return min(_directed_95", T_DISTANCE),
    Mutant(DISTANCE, "mask_HW & ~ndimage.binary_erosion(mask_HW)", "mask_HW", T_DISTANCE),
    Mutant(
        TOPOLOGY,
        "2.0 * precision * sensitivity / (precision + sensitivity)",
        "(precision + sensitivity) / 2.0",
        T_TOPOLOGY,
    ),
    Mutant(TOPOLOGY, "structure=EIGHT", "structure=FOUR", T_TOPOLOGY),
    Mutant(TOPOLOGY, "int(num_backgrounds) - 1", "int(num_backgrounds)", T_TOPOLOGY),
    Mutant(SCORES, "logits > logit_of(threshold)", "logits > threshold", T_SCORES),
    Mutant(SCORES, '"hd95_px": hausdorff_95(mask, truth)', '"hd95_px": betti_error(mask, truth)', T_SCORES),
    Mutant(
        SCORES,
        "2 * self.written < self.asked",
        "2 * self.written <= self.asked",
        ("tests/evaluate/test_evaluate_command.py::test_broken_is_under_half",),
    ),
    Mutant(
        EXAMPLES,
        "truth = torch.from_numpy(laid_out(truth.numpy(), variant))",
        "pass",
        ("tests/train/test_cached_step.py::test_an_epoch_shows_truth_and_features_of_the_same_variant",),
    ),
    Mutant(
        EXAMPLES,
        "variant_in(augment, seed=seed, epoch=epoch,",
        "variant_in(augment, seed=seed, epoch=1,",
        ("tests/train/test_cached_step.py::test_an_epoch_shows_truth_and_features_of_the_same_variant",),
    ),
    # how sure a mean is
    Mutant(
        BOOTSTRAP,
        "[tail, 1.0 - tail]",
        "[2 * tail, 1.0 - 2 * tail]",
        survives="Percentiles are taken where BCa is not defined: where all groups have the same mean, and then every "
        "percentile is that mean.",
    ),
    Mutant(BOOTSTRAP, "np.random.default_rng(seed)", "np.random.default_rng(0)", T_BOOTSTRAP),
    # what is better
    Mutant(PAIRED, "(low > 0.0) == higher_is_better", "low > 0.0", T_VERDICT),
    Mutant(PAIRED, "not p_value < LEVEL or low <= 0.0 <= high", "low <= 0.0 <= high", T_VERDICT),
    Mutant(PAIRED, "not p_value < LEVEL or low <= 0.0 <= high", "not p_value < LEVEL", T_VERDICT),
    Mutant(PAIRED, "if num_groups < MIN_GROUPS:", "if num_groups < MIN_GROUPS - 1:", T_VERDICT),
    Mutant(PAIRED, "p_value = signed_rank(sums / sizes)", "p_value = signed_rank(differences[is_pair])", T_VERDICT),
    Mutant(PAIRED, "2 * min(chance[: above + 1].sum()", "1 * min(chance[: above + 1].sum()", T_VERDICT),
    Mutant(LOCKED, 'Measure("hd95_px", "HD95 (px)", False', 'Measure("hd95_px", "HD95 (px)", True', T_LOCKED),
    Mutant(LOCKED, "for row in (WINNER, other))", "for row in (other, WINNER))", T_LOCKED),
    Mutant(LOCKED, 'groups, texts = rows["group_code"]', 'groups, texts = rows["image_code"]', T_LOCKED),
    # the locked part
    Mutant(TEST_PART, 'sample.split == "test"', 'sample.split == "val"', T_TEST_PART),
    Mutant(TEST_PART, "logits > logit_of(value)", "logits > value", T_TEST_PART),
    Mutant(TEST_PART, "        members.detach()", "        pass", T_TEST_PART),
    Mutant(TEST_PART, "        folds.detach()", "        pass", T_TEST_PART),
    Mutant(TEST_PART, "_attach(model, contender.adapters)", "_attach(model, [])", T_TEST_PART),
    Mutant(TEST_PART, 'entry["checkpoint"] == contender.checkpoint', 'entry["row"] == contender.row', T_TEST_PART),
    Mutant(TEST_PART, "str(openings)", "str(openings + 1)", T_TEST_PART),
    # the confirmed winner
    Mutant(
        CONFIRMATION,
        "max(whole, key=lambda finalist: finalist.mean, default=None)",
        "max(whole, key=lambda finalist: finalist.best_rerun.val_dice, default=None)",
        T_CONFIRMATION,
    ),
    Mutant(
        CONFIRMATION,
        "return max(self.reruns, key=lambda rerun: rerun.val_dice)",
        "return self.reruns[-1]",
        T_CONFIRMATION,
    ),
    Mutant(CONFIRMATION, "ascending=[False, True]", "ascending=[False, False]", T_CONFIRMATION),
    Mutant(CONFIRMATION, ' and p != "train.seed"', "", T_CONFIRMATION),
    Mutant(
        CONFIRMATION,
        "TrialState.COMPLETE, TrialState.STOPPED])",
        "TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED])",
        T_CONFIRMATION,
    ),
)
