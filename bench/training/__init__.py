"""Training: losses, labelled photographs, augmentation, the loop; `bench.training.run` begins."""
