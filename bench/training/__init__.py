"""Training: losses, labelled photographs, augmentation, the loop; entry: `bench.training.run`."""
