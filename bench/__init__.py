"""A reproducible benchmark suite for image retrieval and visual place recognition."""

__version__ = "0.1.0"
