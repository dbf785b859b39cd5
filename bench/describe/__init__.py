"""Image files to descriptors: batches, prefetch, scales, speed-up, local features."""
