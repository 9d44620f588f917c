"""Does the native model compute what the reference computed? `python -m tune_sa2va.parity DIR`, tensor by tensor."""

from tune_sa2va.parity.command import app

__all__ = ["app"]
