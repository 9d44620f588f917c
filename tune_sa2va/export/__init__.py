"""Exports the adapter of a search's best trial, or of any trial, as files for Sa2VA, and verifies its scores first."""

from tune_sa2va.export.checkpoints import TrialCheckpoint, best_checkpoint, best_of_search, find_checkpoints
from tune_sa2va.export.command import app
from tune_sa2va.export.final import write_final
from tune_sa2va.export.verify import FreshScores, Proof, verify
from tune_sa2va.export.write import export_adapter, export_merged

__all__ = [
    "FreshScores",
    "Proof",
    "TrialCheckpoint",
    "app",
    "best_checkpoint",
    "best_of_search",
    "export_adapter",
    "export_merged",
    "find_checkpoints",
    "verify",
    "write_final",
]
