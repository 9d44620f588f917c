"""Counts a model's parameters and those that a configuration trains, and predicts memory, without loading the model."""
