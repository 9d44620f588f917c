"""Faults in what is measured, and in what the report says of it."""

from tests.mutants.mutant import Mutant

BATCH, METRICS, THRESHOLD = (f"tune_sa2va/evaluate/{n}.py" for n in ("batch", "metrics", "threshold"))
DISTANCE, TOPOLOGY, SCORES = (f"tune_sa2va/evaluate/{n}.py" for n in ("distance", "topology", "scores"))
EXAMPLES, BOOTSTRAP = (f"tune_sa2va/evaluate/{n}.py" for n in ("examples", "bootstrap"))
REPORT, TEST_PART = "tune_sa2va/report/test_part.py", "tune_sa2va/score/test_part.py"
CONFIRMATION = "tune_sa2va/propose/confirmation.py"

T_STEP = ("tests/train/test_step.py",)
T_METRICS = ("tests/evaluate/test_metrics.py",)
T_THRESHOLD = ("tests/evaluate/test_threshold.py",)
T_DISTANCE = ("tests/evaluate/test_distance.py",)
T_TOPOLOGY = ("tests/evaluate/test_topology.py",)
T_SCORES = ("tests/evaluate/test_scores.py",)
T_BOOTSTRAP = ("tests/evaluate/test_bootstrap.py",)
T_VERDICT = ("tests/report/test_test_part.py",)
T_TEST_PART = ("tests/score/test_test_part.py",)
T_CONFIRMATION = ("tests/propose/test_confirmation.py",)

MUTANTS = (
    # a batch
    Mutant(
        file=BATCH,
        old="(logits > 0) & valid",
        new="logits > 0",
        survives="Beyond the image logits are exactly 0 (zero rows of the matrices), which is no vessel.",
    ),
    Mutant(file=BATCH, old="(logits > 0) & valid", new="(logits >= 0) & valid", tests=T_STEP),
    Mutant(file=BATCH, old="~mask & ~truth & valid", new="~mask & ~truth", tests=T_STEP),
    Mutant(
        file=BATCH,
        old="torch.tensor([tokens.seg_position]), answer - 1",
        new="torch.tensor([tokens.seg_position]), answer",
        tests=("tests/train/test_trial.py::test_an_epochs_numbers_are_those_of_its_images",),
    ),
    Mutant(
        file=BATCH,
        old="max(tokens.seg_position + 1,",
        new="max(tokens.seg_position,",
        tests=("tests/train/test_trial.py::test_a_batch_of_two_is_two_forwards_of_one",),
    ),
    Mutant(
        file=BATCH,
        old="place[: example.truth.shape[0], : example.truth.shape[1]] = example.truth",
        new="pass",
        tests=T_STEP,
    ),
    Mutant(
        file=BATCH, old="example.truth.shape[1], shape.width", new="example.truth.shape[0], shape.width", tests=T_STEP
    ),
    # overlap
    Mutant(
        file=METRICS,
        old="self._share(2 * self.tp, 2 * self.tp + self.fp + self.fn)",
        new="self._share(2 * self.tp, 2 * self.tp + self.fp)",
        tests=T_METRICS,
    ),
    Mutant(
        file=METRICS,
        old="self._share(self.tp, self.tp + self.fn)",
        new="self._share(self.tp, self.tp + self.fp)",
        tests=T_METRICS,
    ),
    Mutant(file=METRICS, old="self.tp + self.fp + self.fn == 0", new="self.tp + self.fn == 0", tests=T_METRICS),
    Mutant(file=METRICS, old="num_skipped=len(counts) - len(scored)", new="num_skipped=0", tests=T_METRICS),
    Mutant(
        file=METRICS, old="[image for image in counts if not image.both_empty]", new="list(counts)", tests=T_METRICS
    ),
    # the threshold
    Mutant(
        file=THRESHOLD, old="first = GRID.index(threshold) + 1", new="first = GRID.index(threshold)", tests=T_THRESHOLD
    ),
    Mutant(
        file=THRESHOLD,
        old="torch.bucketize(logits, edges)",
        new="torch.bucketize(logits, edges, right=True)",
        tests=T_THRESHOLD,
    ),
    Mutant(file=THRESHOLD, old="-abs(t - DEFAULT_THRESHOLD)", new="abs(t - DEFAULT_THRESHOLD)", tests=T_THRESHOLD),
    Mutant(file=THRESHOLD, old="threshold / (1 - threshold)", new="threshold / (1 + threshold)", tests=T_SCORES),
    # outlines and trees
    Mutant(file=DISTANCE, old="distance_HW[from_HW], 95)", new="distance_HW[from_HW], 100)", tests=T_DISTANCE),
    Mutant(file=DISTANCE, old="return max(_directed_95", new="return min(_directed_95", tests=T_DISTANCE),
    Mutant(file=DISTANCE, old="mask_HW & ~ndimage.binary_erosion(mask_HW)", new="mask_HW", tests=T_DISTANCE),
    Mutant(
        file=TOPOLOGY,
        old="2.0 * precision * sensitivity / (precision + sensitivity)",
        new="(precision + sensitivity) / 2.0",
        tests=T_TOPOLOGY,
    ),
    Mutant(file=TOPOLOGY, old="structure=EIGHT", new="structure=FOUR", tests=T_TOPOLOGY),
    Mutant(file=TOPOLOGY, old="int(num_backgrounds) - 1", new="int(num_backgrounds)", tests=T_TOPOLOGY),
    Mutant(file=SCORES, old="logits > logit_of(threshold)", new="logits > threshold", tests=T_SCORES),
    Mutant(
        file=SCORES,
        old='"hd95_px": hausdorff_95(mask, truth)',
        new='"hd95_px": betti_error(mask, truth)',
        tests=T_SCORES,
    ),
    Mutant(
        file=SCORES,
        old="2 * self.written < self.asked",
        new="2 * self.written <= self.asked",
        tests=("tests/evaluate/test_evaluate_command.py::test_broken_is_under_half",),
    ),
    Mutant(
        file=EXAMPLES,
        old="truth = torch.from_numpy(laid_out(truth.numpy(), variant))",
        new="pass",
        tests=("tests/train/test_cached_step.py::test_an_epoch_shows_truth_and_features_of_the_same_variant",),
    ),
    Mutant(
        file=EXAMPLES,
        old="variant_in(augment, seed=seed, epoch=epoch,",
        new="variant_in(augment, seed=seed, epoch=1,",
        tests=("tests/train/test_cached_step.py::test_an_epoch_shows_truth_and_features_of_the_same_variant",),
    ),
    # how sure a mean is
    Mutant(file=BOOTSTRAP, old="[tail, 1.0 - tail]", new="[2 * tail, 1.0 - 2 * tail]", tests=T_BOOTSTRAP),
    Mutant(file=BOOTSTRAP, old="np.random.default_rng(seed)", new="np.random.default_rng(0)", tests=T_BOOTSTRAP),
    # what is better
    Mutant(file=REPORT, old='return "better" if higher_is_better else "worse"', new='return "better"', tests=T_VERDICT),
    Mutant(file=REPORT, old='return "worse" if higher_is_better else "better"', new='return "worse"', tests=T_VERDICT),
    Mutant(
        file=REPORT,
        old='Measure("hd95_px", "HD95 (px)", False',
        new='Measure("hd95_px", "HD95 (px)", True',
        tests=T_VERDICT,
    ),
    Mutant(
        file=REPORT,
        old='key = ["image_code", "text"]\n    first, second = scores[scores["row"] == WINNER], scores[scores["row"] == other]',
        new='key = ["image_code", "text"]\n    first, second = scores[scores["row"] == other], scores[scores["row"] == WINNER]',
        tests=T_VERDICT,
    ),
    # the locked part
    Mutant(file=TEST_PART, old='sample.split == "test"', new='sample.split == "val"', tests=T_TEST_PART),
    Mutant(
        file=TEST_PART, old="predict(model, example) > 0", new="predict(model, example) > THRESHOLD", tests=T_TEST_PART
    ),
    Mutant(file=TEST_PART, old="                adapter.detach()", new="                pass", tests=T_TEST_PART),
    Mutant(file=TEST_PART, old="_attach(model, contender.adapter)", new="None", tests=T_TEST_PART),
    Mutant(
        file=TEST_PART,
        old='entry["checkpoint"] == contender.checkpoint',
        new='entry["row"] == contender.row',
        tests=T_TEST_PART,
    ),
    Mutant(file=TEST_PART, old="str(openings)", new="str(openings + 1)", tests=T_TEST_PART),
    # the confirmed winner
    Mutant(
        file=CONFIRMATION,
        old="max(whole, key=lambda finalist: finalist.mean, default=None)",
        new="max(whole, key=lambda finalist: finalist.best_rerun.val_dice, default=None)",
        tests=T_CONFIRMATION,
    ),
    Mutant(
        file=CONFIRMATION,
        old="return max(self.reruns, key=lambda rerun: rerun.val_dice)",
        new="return self.reruns[-1]",
        tests=T_CONFIRMATION,
    ),
    Mutant(file=CONFIRMATION, old="ascending=[False, True]", new="ascending=[False, False]", tests=T_CONFIRMATION),
    Mutant(file=CONFIRMATION, old=' and p != "train.seed"', new="", tests=T_CONFIRMATION),
    Mutant(
        file=CONFIRMATION,
        old="TrialState.COMPLETE, TrialState.STOPPED])",
        new="TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED])",
        tests=T_CONFIRMATION,
    ),
)
