"""Pretrains the `tiny` preset: all parameters, only on procedural scenes, in minutes on one GPU.

Worker processes draw scenes into a pool on the device (`scenes`), where they are augmented (`augment`). The targets are
the masks and the answer (`objective`, `loop`). `tokenizer` makes the preset's tokenizer.
"""
