"""The private parts of Optuna that we use. Tested with optuna 5.0, the range in pyproject.toml."""

from typing import Any

from optuna.storages import JournalStorage


def journal_backend(storage: JournalStorage) -> Any:
    """The object that reads and writes the journal's file."""
    return storage._backend


def set_journal_backend(storage: JournalStorage, backend: Any) -> None:
    """Replaces the file of a storage that a study already uses. A restored storage has the old path of its file."""
    storage._backend = backend
