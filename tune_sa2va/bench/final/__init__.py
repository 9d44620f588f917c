"""What of a winner is exported (`--final`), measured: one fold's adapter, the folds' mean, all of them, or a refit."""
