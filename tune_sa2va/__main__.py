"""`python -m tune_sa2va` is the console command `tune-sa2va`."""

from tune_sa2va.cli import main

main()
