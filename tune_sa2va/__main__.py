"""`python -m tune_sa2va`: the commands, as `tune-sa2va` lists and runs them."""

from tune_sa2va.cli import main

main()
