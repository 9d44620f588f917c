"""Masks and overlays of a user's own images, from a base model with or without an adapter."""
