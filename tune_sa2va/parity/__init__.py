"""Compares the native model with the reference, tensor by tensor: `python -m tune_sa2va.parity DIR`."""

from tune_sa2va.parity.command import app

__all__ = ["app"]
