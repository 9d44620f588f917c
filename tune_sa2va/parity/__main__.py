"""`python -m tune_sa2va.parity DIR`: see `command`."""

from tune_sa2va.cli import run
from tune_sa2va.parity import app

run(app)
