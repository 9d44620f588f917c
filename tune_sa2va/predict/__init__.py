"""Predicts masks of a user's images, with a base model or a tuned one, and draws overlays."""
