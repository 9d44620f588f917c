"""Faults in the results' tables, in what proposes and schedules, and in what a kill must not take."""

from tests.mutants.mutant import Mutant

RECORDS, SNAPSHOTS = "tune_sa2va/results/records.py", "tune_sa2va/results/snapshots.py"
VAL_COUNTS = "tune_sa2va/results/val_counts.py"
SEARCHER, RERUNS, WARM = (f"tune_sa2va/propose/{n}.py" for n in ("searcher", "rerun_searcher", "warm_start"))
ASHA, RUNGS, FAILURES = (f"tune_sa2va/schedule/{n}.py" for n in ("asha", "rungs", "repeated_failure"))
QUEUE, CAPACITY = (f"tune_sa2va/schedule/{n}.py" for n in ("asha_in_lanes", "lane_capacity"))
BEST, BUDGET = "tune_sa2va/results/best.py", "tune_sa2va/schedule/time_budget.py"
CHOICE = "tune_sa2va/score/choice.py"
STORE, SPACE = "tune_sa2va/lane/store.py", "tune_sa2va/space/search_space.py"
TRAINABLE, HOST, SEAT_CHOICE = (f"tune_sa2va/lane/{n}.py" for n in ("trainable", "host", "seat_choice"))
SEATS, ESTIMATE = "tune_sa2va/preflight/seats.py", "tune_sa2va/watch/estimate.py"
FINAL_WORK, WORKER = "tune_sa2va/schedule/final_work.py", "tune_sa2va/lane/worker.py"

T_RECORDS = ("tests/results/test_records.py", "tests/results/test_best.py")
T_TRAINABLE = ("tests/lane/test_trainable.py",)
T_SNAPSHOTS = ("tests/results/test_snapshots.py",)
T_VAL_COUNTS = ("tests/results/test_val_counts.py",)
T_SAMPLERS = ("tests/propose/test_samplers.py",)
T_SEARCHER = ("tests/propose/test_searcher.py",)
T_RERUNS = ("tests/propose/test_rerun_searcher.py",)
T_WARM = ("tests/propose/test_warm_start.py",)
T_RULES = ("tests/schedule/test_rules.py",)
T_ASHA = ("tests/schedule/test_asha.py",)
T_RUNGS = ("tests/schedule/test_rungs.py",)
T_FAILURES = ("tests/schedule/test_repeated_failure.py",)
T_BUDGET = ("tests/schedule/test_time_budget.py",)
T_CHOICE = ("tests/score/test_choice.py",)
T_HOST, T_SEATS = ("tests/lane/test_host.py",), ("tests/preflight/test_seats.py",)
T_ESTIMATE = ("tests/watch/test_estimate.py",)
T_LANES = ("tests/schedule/test_lane_capacity.py",)
T_STORE = ("tests/lane/test_store.py",)
T_SPACE = ("tests/space/test_search_space.py",)

MUTANTS = (
    # the tables
    Mutant(
        RECORDS,
        "{key: row for key, row in self._epochs.items() if key[0] in trial_ids}",
        "dict(self._epochs)",
        T_RECORDS,
    ),
    Mutant(BEST, '(record["val_dice"], -record["epoch"])', '(record["val_dice"], record["epoch"])', T_RECORDS),
    Mutant(BEST, '(record["val_dice"], -record["epoch"])', 'record["epoch"]', T_RECORDS),
    Mutant(BEST, 'if all(record.get("folds", 1) == 1', 'if any(record.get("folds", 1) == 1', T_RECORDS),
    Mutant(RECORDS, 'if row["state"] not in FINAL_STATES:', "if row:", T_RECORDS),
    Mutant(BEST, ' if not math.isnan(record["val_dice"])]', "]", T_RECORDS),
    Mutant(RECORDS, '"last_val_dice": rows[-1]["val_dice"]', '"last_val_dice": rows[0]["val_dice"]', T_RECORDS),
    Mutant(RECORDS, 'math.fsum(row["seconds"] for row in rows)', 'rows[-1]["seconds"]', T_RECORDS),
    Mutant(RECORDS, 'max(row["peak_gib"] for row in rows)', 'rows[-1]["peak_gib"]', T_RECORDS),
    Mutant(RECORDS, 'if row["state"] == TrialState.RUNNING:', 'if row["state"] == TrialState.WAITING:', T_RECORDS),
    Mutant(RECORDS, 'kind is None or row["kind"] == kind', "True", T_RECORDS),
    Mutant(RECORDS, 'before["started_at"] if before else _now()', "_now()", T_RECORDS),
    Mutant(VAL_COUNTS, 'if row["epoch"] < epoch]', "]", T_VAL_COUNTS),
    Mutant(VAL_COUNTS, "scored_rows(read_names(results))", "read_names(results)", T_VAL_COUNTS),
    # after a kill
    Mutant(
        SNAPSHOTS,
        "                journal.truncate(found.journal_bytes)",
        "                pass",
        T_SNAPSHOTS,
    ),
    Mutant(SNAPSHOTS, "            self._journal.unlink(missing_ok=True)\n", "", T_SNAPSHOTS),
    Mutant(SNAPSHOTS, "if path.name.isdigit()), reverse=True)", "if path.name.isdigit()))", T_SNAPSHOTS),
    Mutant(SNAPSHOTS, "            path.unlink()\n", "            pass\n", T_SNAPSHOTS),
    Mutant(SNAPSHOTS, "if saved_ns == self._last_saved_ns:", "if not saved_ns:", T_SNAPSHOTS),
    Mutant(SNAPSHOTS, "[_KEPT:]", "[1:]", T_SNAPSHOTS),
    Mutant(SNAPSHOTS, "wanted[name] != _sha256(folder / name)", "not (folder / name).exists()", T_SNAPSHOTS),
    Mutant(SNAPSHOTS, "sha256 in (None, hashlib.sha256(content).hexdigest())", "bool(content)", T_SNAPSHOTS),
    Mutant(SNAPSHOTS, "            self._bytes = 0\n", "            self._bytes = 1\n", T_SNAPSHOTS),
    Mutant(TRAINABLE, "if reply.kind == DATA_GONE:", "if not reply.kind:", T_TRAINABLE),
    Mutant(TRAINABLE, "and opened_again < _FEATURES_AGAIN", "and opened_again < 1", T_TRAINABLE),
    Mutant(STORE, "best = best_epoch(records[:-1])", "best = best_epoch(records)", T_STORE),
    Mutant(STORE, "best = best_epoch(records[:-1])", "best = None", T_STORE),
    Mutant(STORE, "{epoch, epoch - 1} |", "{epoch} |", T_STORE),
    Mutant(STORE, "!= objective(self._config)", "!= self._config", T_STORE),
    Mutant(STORE, "                shutil.rmtree(self._folder)", "                pass", T_STORE),
    # what proposes
    Mutant(
        SEARCHER,
        "constant_liar=True, seed=seed",
        "constant_liar=True, seed=None",
        T_SAMPLERS,
    ),
    Mutant(SEARCHER, "GPSampler(seed=seed)", "GPSampler()", T_SAMPLERS),
    Mutant(SEARCHER, "CmaEsSampler(seed=seed,", "CmaEsSampler(seed=None,", T_SAMPLERS),
    Mutant(SEARCHER, "RandomSampler(seed=seed)", "RandomSampler(seed=1)", T_SAMPLERS),
    Mutant(SEARCHER, "1.0 if INFEASIBLE_GIB", "-1.0 if INFEASIBLE_GIB", T_SAMPLERS),
    Mutant(SEARCHER, "None if resuming else [space.recipe_point()]", "[space.recipe_point()]", T_SAMPLERS),
    Mutant(SEARCHER, "None if resuming else [space.recipe_point()]", "None", T_SAMPLERS),
    Mutant(SEARCHER, 'mode="max"', 'mode="min"', T_SAMPLERS),
    Mutant(SEARCHER, "else max(best, result[METRIC])", "else result[METRIC]", T_SEARCHER),
    Mutant(SEARCHER, '("folds_left")) and self._reads_pruned', '("folds_left"))', T_SEARCHER),
    Mutant(SEARCHER, 'trial.set_constraint("failed", 1.0)', 'trial.set_constraint("failed", -1.0)', T_SEARCHER),
    Mutant(SEARCHER, "study_of(self).tell(trial, 0.0)", "study_of(self).tell(trial, best)", T_SEARCHER),
    Mutant(SEARCHER, '"finished": False', '"finished": True', T_SEARCHER),
    Mutant(RERUNS, "        if self._under_way:\n", "        if False:\n", T_RERUNS),
    Mutant(RERUNS, "not in self._reruns.values()", "not in self._reruns", T_RERUNS),
    Mutant(
        WARM,
        "TrialState.COMPLETE, TrialState.STOPPED])",
        "TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED])",
        T_WARM,
    ),
    Mutant(
        SPACE,
        "self.values[0] <= value <= self.values[1]",
        "self.values[0] <= value < self.values[1]",
        ("tests/space/test_search_space.py", "tests/space/test_search_space_properties.py"),
    ),
    Mutant(SPACE, "FloatDistribution(low, high, log=self.kind.is_log)", "FloatDistribution(low, high)", T_SPACE),
    # what wins
    Mutant(CHOICE, "recipe=recipe_checkpoint,", "recipe=None,", T_CHOICE),
    Mutant(CHOICE, "space.is_recipe(rows[winning_trial])", "winner.trial_id == recipe", T_CHOICE),
    # what stops
    Mutant(ASHA, "all(trial.config.get(path)", "any(trial.config.get(path)", T_RULES),
    Mutant(ASHA, "            if epoch <= known:", "            if epoch < known:", T_RULES),
    Mutant(ASHA, "            if epoch <= known:", "            if True:", T_RULES),
    Mutant(ASHA, '.sort_values("epoch")', "", T_RULES),
    Mutant(ASHA, "return TrialScheduler.CONTINUE if is_recipe else decision", "return decision", T_RULES),
    Mutant(
        ASHA,
        "            self.on_trial_remove(tune_controller, trial)",
        "            super().on_trial_complete(tune_controller, trial, result)",
        T_RULES,
    ),
    Mutant(
        ASHA,
        "epoch >= rung and trial.trial_id not in recorded",
        "epoch > rung and trial.trial_id not in recorded",
        T_ASHA,
    ),
    Mutant(
        RUNGS,
        "place = (recorded - 1) * (1 - 1 / reduction_factor)",
        "place = recorded * (1 - 1 / reduction_factor)",
        T_RUNGS,
    ),
    Mutant(RUNGS, "while epoch < epochs:", "while epoch <= epochs:", T_RUNGS),
    Mutant(FAILURES, "self._num_alike >= MAX_EQUAL_FAILURES", "self._num_alike > MAX_EQUAL_FAILURES", T_FAILURES),
    Mutant(FAILURES, "self._num_alike + 1 if kind and kind == self._kind else 1", "self._num_alike + 1", T_FAILURES),
    Mutant(FAILURES, 'not in ("", OUT_OF_MEMORY)', 'not in ("",)', T_FAILURES),
    Mutant(FAILURES, "if self._kind == LANE_FAILURE:", "if False:", T_FAILURES),
    Mutant(BUDGET, "- self._began_s >= self._seconds", "- self._began_s > 2 * self._seconds", T_BUDGET),
    Mutant(BUDGET, '"_began_s": None', '"_began_s": self._began_s', T_BUDGET),
    Mutant(BUDGET, "self._has_result and ", "", T_BUDGET),
    Mutant(CAPACITY, "workers += int(min(here,", "workers += int(max(here,", T_LANES),
    Mutant(CAPACITY, "return workers // settings.lane.num_workers", "return workers", T_LANES),
    Mutant(QUEUE, "Trial.PENDING if place < room else Trial.PAUSED", "Trial.PENDING", T_LANES),
    Mutant(QUEUE, "iter([*new, *pending])", "iter(pending)", T_LANES),
    Mutant(CAPACITY, "reverse=True", "reverse=False", T_LANES),
    # how many trials share a lane
    Mutant(SEATS, "FIRST_EPOCH * estimate(seats)", "estimate(seats)", T_SEATS),
    Mutant(SEATS, "seats * rounds(seats) / pace", "rounds(seats) / pace", T_SEATS),
    Mutant(SEAT_CHOICE, ">= GAIN * alone", ">= alone", T_HOST),
    Mutant(HOST, "len(self._places) >= self._seats:\n                return", "False:\n                return", T_HOST),
    Mutant(HOST, "if together.kind == DAMAGED_FEATURES:", "if False:", T_HOST),
    Mutant(HOST, "and not self._round_s:", "and False:", T_HOST),
    # checkpoints of trials that sit together
    Mutant(WORKER, "completed[name] = self._failed_alone(name, error)", "raise", ("tests/lane/test_worker.py",)),
    # when it ends
    Mutant(ESTIMATE, "not in opening]", "in opening]", T_ESTIMATE),
    Mutant(FINAL_WORK, "processes=refitted + 2", "processes=refitted + 1", ("tests/plan/test_clock.py",)),
    Mutant(FINAL_WORK, "if refits else 0", "if False else 0", T_ESTIMATE),
    Mutant("tune_sa2va/plan/table.py", '("fields", "dropout"', '("dropout"', ("tests/plan/test_table.py",)),
)
