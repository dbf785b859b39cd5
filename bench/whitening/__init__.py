"""Stages on descriptors, before the search: whitening and truncation."""
