"""Scores the forms of `--final`: one fold's adapter, the average of the folds, the ensemble, a refit."""
