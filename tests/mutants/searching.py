"""Faults in the results' tables, in what proposes and schedules, and in what a kill must not take."""

from tests.mutants.mutant import Mutant

RECORDS, SNAPSHOTS = "tune_sa2va/results/records.py", "tune_sa2va/search/snapshots.py"
VAL_COUNTS = "tune_sa2va/results/val_counts.py"
SEARCHER, RERUNS, WARM = (f"tune_sa2va/propose/{n}.py" for n in ("searcher", "rerun_searcher", "warm_start"))
ASHA, RUNGS, FAILURES = (f"tune_sa2va/schedule/{n}.py" for n in ("asha", "rungs", "repeated_failure"))
QUEUE, CAPACITY = (f"tune_sa2va/schedule/{n}.py" for n in ("lane_queue", "lane_capacity"))
STORE, SPACE = "tune_sa2va/lane/store.py", "tune_sa2va/space/search_space.py"

T_RECORDS = ("tests/results/test_records.py",)
T_SNAPSHOTS = ("tests/search/test_snapshots.py",)
T_VAL_COUNTS = ("tests/results/test_val_counts.py",)
T_SAMPLERS = ("tests/propose/test_samplers.py",)
T_SEARCHER = ("tests/propose/test_searcher.py",)
T_RERUNS = ("tests/propose/test_rerun_searcher.py",)
T_WARM = ("tests/propose/test_warm_start.py",)
T_RULES = ("tests/schedule/test_rules.py",)
T_ASHA = ("tests/schedule/test_asha.py",)
T_RUNGS = ("tests/schedule/test_rungs.py",)
T_FAILURES = ("tests/schedule/test_repeated_failure.py",)
T_LANES = ("tests/schedule/test_lane_capacity.py",)
T_STORE = ("tests/lane/test_store.py",)
T_SPACE = ("tests/space/test_search_space.py",)

MUTANTS = (
    # the tables
    Mutant(
        file=RECORDS,
        old="{key: row for key, row in self._epochs.items() if key[0] in trial_ids}",
        new="dict(self._epochs)",
        tests=T_RECORDS,
    ),
    Mutant(
        file=RECORDS,
        old='best = max(scored, key=lambda row: row["val_dice"]',
        new='best = max(scored, key=lambda row: row["epoch"]',
        tests=T_RECORDS,
    ),
    Mutant(
        file=RECORDS,
        old='best = max(scored, key=lambda row: row["val_dice"]',
        new='best = max(scored[::-1], key=lambda row: row["val_dice"]',
        tests=T_RECORDS,
    ),
    Mutant(file=RECORDS, old='if not math.isnan(row["val_dice"])]', new="]", tests=T_RECORDS),
    Mutant(
        file=RECORDS,
        old='"last_val_dice": rows[-1]["val_dice"]',
        new='"last_val_dice": rows[0]["val_dice"]',
        tests=T_RECORDS,
    ),
    Mutant(file=RECORDS, old='math.fsum(row["seconds"] for row in rows)', new='rows[-1]["seconds"]', tests=T_RECORDS),
    Mutant(file=RECORDS, old='max(row["peak_gib"] for row in rows)', new='rows[-1]["peak_gib"]', tests=T_RECORDS),
    Mutant(
        file=RECORDS,
        old='if row["state"] == TrialState.RUNNING:',
        new='if row["state"] == TrialState.WAITING:',
        tests=T_RECORDS,
    ),
    Mutant(file=RECORDS, old='kind is None or row["kind"] == kind', new="True", tests=T_RECORDS),
    Mutant(file=RECORDS, old='before["started_at"] if before else _now()', new="_now()", tests=T_RECORDS),
    Mutant(file=VAL_COUNTS, old='if row["epoch"] < epoch]', new="]", tests=T_VAL_COUNTS),
    Mutant(file=VAL_COUNTS, old='row["split"] == "val"', new='row["split"] == "test"', tests=T_VAL_COUNTS),
    # after a kill
    Mutant(
        file=SNAPSHOTS,
        old='            journal.truncate(json.loads((newest / _MARK).read_text(encoding="utf-8"))["journal_bytes"])',
        new="            pass",
        tests=T_SNAPSHOTS,
    ),
    Mutant(file=SNAPSHOTS, old="            self._journal.unlink(missing_ok=True)\n", new="", tests=T_SNAPSHOTS),
    Mutant(file=SNAPSHOTS, old='glob("[0-9]*"), reverse=True)', new='glob("[0-9]*"))', tests=T_SNAPSHOTS),
    Mutant(file=SNAPSHOTS, old="            path.unlink()\n", new="            pass\n", tests=T_SNAPSHOTS),
    Mutant(file=SNAPSHOTS, old="if saved_ns == self._last_saved_ns:", new="if not saved_ns:", tests=T_SNAPSHOTS),
    Mutant(file=SNAPSHOTS, old="[_KEPT:]", new="[1:]", tests=T_SNAPSHOTS),
    Mutant(file=STORE, old="{epoch, epoch - 1, _best_epoch(records)}", new="{epoch, epoch - 1}", tests=T_STORE),
    Mutant(
        file=STORE, old="{epoch, epoch - 1, _best_epoch(records)}", new="{epoch, _best_epoch(records)}", tests=T_STORE
    ),
    Mutant(
        file=STORE,
        old='(record["val_dice"], -record["epoch"])',
        new='(record["val_dice"], record["epoch"])',
        tests=T_STORE,
    ),
    Mutant(file=STORE, old="!= objective(self._config)", new="!= self._config", tests=T_STORE),
    Mutant(file=STORE, old="                shutil.rmtree(self._folder)", new="                pass", tests=T_STORE),
    # what proposes
    Mutant(
        file=SEARCHER,
        old="constant_liar=True,\n                seed=settings.seed",
        new="constant_liar=True,\n                seed=None",
        tests=T_SAMPLERS,
    ),
    Mutant(file=SEARCHER, old="GPSampler(seed=settings.seed)", new="GPSampler()", tests=T_SAMPLERS),
    Mutant(file=SEARCHER, old="CmaEsSampler(seed=settings.seed,", new="CmaEsSampler(seed=None,", tests=T_SAMPLERS),
    Mutant(file=SEARCHER, old="RandomSampler(seed=settings.seed)", new="RandomSampler(seed=1)", tests=T_SAMPLERS),
    Mutant(file=SEARCHER, old="1.0 if INFEASIBLE_GIB", new="-1.0 if INFEASIBLE_GIB", tests=T_SAMPLERS),
    Mutant(
        file=SEARCHER,
        old="None if resuming else [space.recipe_point()]",
        new="[space.recipe_point()]",
        tests=T_SAMPLERS,
    ),
    Mutant(file=SEARCHER, old="None if resuming else [space.recipe_point()]", new="None", tests=T_SAMPLERS),
    Mutant(file=SEARCHER, old='mode="max"', new='mode="min"', tests=T_SAMPLERS),
    Mutant(file=SEARCHER, old='"finished": False', new='"finished": True', tests=T_SEARCHER),
    Mutant(file=RERUNS, old="        if self._under_way:\n", new="        if False:\n", tests=T_RERUNS),
    Mutant(file=RERUNS, old="not in self._reruns.values()", new="not in self._reruns", tests=T_RERUNS),
    Mutant(
        file=WARM,
        old="TrialState.COMPLETE, TrialState.STOPPED])",
        new="TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED])",
        tests=T_WARM,
    ),
    Mutant(
        file=SPACE,
        old="self.values[0] <= value <= self.values[1]",
        new="self.values[0] <= value < self.values[1]",
        tests=("tests/space/test_search_space.py", "tests/space/test_search_space_properties.py"),
    ),
    Mutant(
        file=SPACE,
        old="FloatDistribution(low, high, log=self.kind.is_log)",
        new="FloatDistribution(low, high)",
        tests=T_SPACE,
    ),
    # what stops
    Mutant(file=ASHA, old="all(trial.config.get(path)", new="any(trial.config.get(path)", tests=T_RULES),
    Mutant(file=ASHA, old="            if epoch <= known:", new="            if epoch < known:", tests=T_RULES),
    Mutant(file=ASHA, old="            if epoch <= known:", new="            if True:", tests=T_RULES),
    Mutant(file=ASHA, old='epochs.sort_values("epoch")', new="epochs", tests=T_RULES),
    Mutant(
        file=ASHA, old="return TrialScheduler.CONTINUE if is_recipe else decision", new="return decision", tests=T_RULES
    ),
    Mutant(
        file=ASHA,
        old="            self.on_trial_remove(tune_controller, trial)",
        new="            super().on_trial_complete(tune_controller, trial, result)",
        tests=T_RULES,
    ),
    Mutant(
        file=ASHA,
        old="epoch >= rung and trial.trial_id not in recorded",
        new="epoch > rung and trial.trial_id not in recorded",
        tests=T_ASHA,
    ),
    Mutant(
        file=RUNGS,
        old="place = (recorded - 1) * (1 - 1 / REDUCTION_FACTOR)",
        new="place = recorded * (1 - 1 / REDUCTION_FACTOR)",
        tests=T_RUNGS,
    ),
    Mutant(file=RUNGS, old="while epoch < epochs:", new="while epoch <= epochs:", tests=T_RUNGS),
    Mutant(
        file=FAILURES,
        old="self._num_alike >= MAX_EQUAL_FAILURES",
        new="self._num_alike > MAX_EQUAL_FAILURES",
        tests=T_FAILURES,
    ),
    Mutant(
        file=FAILURES,
        old="self._num_alike + 1 if kind and kind == self._kind else 1",
        new="self._num_alike + 1",
        tests=T_FAILURES,
    ),
    Mutant(file=FAILURES, old='not in ("", OUT_OF_MEMORY)', new='not in ("",)', tests=T_FAILURES),
    Mutant(file=FAILURES, old="self._kind == LANE_FAILURE or", new="", tests=T_FAILURES),
    Mutant(file=CAPACITY, old="workers += int(min(here,", new="workers += int(max(here,", tests=T_LANES),
    Mutant(file=CAPACITY, old="return workers // settings.lane.num_workers", new="return workers", tests=T_LANES),
    Mutant(file=QUEUE, old="Trial.PENDING if place < room else Trial.PAUSED", new="Trial.PENDING", tests=T_LANES),
    Mutant(file=QUEUE, old="iter([*new, *pending])", new="iter(pending)", tests=T_LANES),
)
