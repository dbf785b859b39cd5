"""DELG: its networks, its published models, and their conversion."""
