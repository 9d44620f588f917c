"""Pretraining of the `tiny` preset: all parameters, on procedural scenes only, in minutes on one GPU.

Scenes are drawn by worker processes (`scenes`) into a pool on the device, varied there (`augment`), and trained on with
the masks and the answer as targets (`objective`, `loop`). `tokenizer` makes the preset's tokenizer.
"""
