"""What a data set is on disk: dataset.json, its files, published ground truth."""
