"""All faults."""

from tests.mutants import evaluation, model, searching, training

MUTANTS = (*training.MUTANTS, *model.MUTANTS, *evaluation.MUTANTS, *searching.MUTANTS)
