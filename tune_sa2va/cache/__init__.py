"""The feature cache: what the frozen encoders make of each image, computed once, read by every trial and search.

A folder a base model, a file an image and variant. The folder's name says base, preprocessing, dtype and kind, the
file's name the image's content, so equal names hold equal features and nothing ever goes stale. Each node has its own.

One file an image, not one big file: processes need no agreement about places in it, a kill costs one image, images
of any tile count lie side by side, and opening a file costs next to nothing beside reading it (`bench cache`).
"""
