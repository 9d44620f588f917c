"""Simulates searches on recorded runs, thousands in minutes, to choose the rules of real searches."""
