"""`python -m tune_sa2va.export`; see `command`."""

from tune_sa2va.cli import run
from tune_sa2va.export.command import app

if __name__ == "__main__":
    run(app)
