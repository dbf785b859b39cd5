"""Data sets on disk: dataset.json, image files, published ground truth."""
