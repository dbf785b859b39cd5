"""Stages on lists, after the search: expansion, re-ranking, verification, suppression."""
