"""The record: written, read, replayed, verified, compared; its rows and words."""
