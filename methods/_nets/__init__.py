"""Networks that several methods share, and reading of their published weights."""
