"""Whole runs of many configurations with the pixel counts of every image, so that searches can be replayed on them."""
