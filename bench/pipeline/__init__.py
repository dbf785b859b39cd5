"""A run, from names to a record: plan, run, score; and brought descriptors."""
