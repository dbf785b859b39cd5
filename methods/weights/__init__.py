"""Weights that are shipped, and the photographs that they were trained on."""
