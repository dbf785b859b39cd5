"""What changes a list after the search: verification of pairs, suppression."""
