"""Queries of a record with the images that were found: HTML, PNG, PDF."""
