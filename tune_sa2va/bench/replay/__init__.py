"""Searches played on recorded runs, thousands of them in minutes, to choose the rules that searches go by."""
