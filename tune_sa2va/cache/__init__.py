"""The feature cache: the frozen encoders' output for each image, computed once and read by every trial and search.

There is one folder per base model, and one file per image and variant. A folder is named after base, preprocessing,
dtype and kind, and a file after the image's content. So equal names mean equal features, and nothing becomes stale.
Each node has its own cache.

There is one file per image and not one big file: processes need not agree on positions in it, a kill costs one image,
images can have different numbers of tiles, and opening a file takes little time compared with reading it (`bench
cache`).
"""
