"""What we use of Optuna that Optuna does not promise to keep. Tried with optuna 5.0, the range in pyproject.toml."""

from typing import Any

from optuna.storages import JournalStorage


def journal_backend(storage: JournalStorage) -> Any:
    """What reads and writes the journal's file."""
    return storage._backend


def set_journal_backend(storage: JournalStorage, backend: Any) -> None:
    """Another file for a storage that a study holds already: one that was restored has the file's old place."""
    storage._backend = backend
