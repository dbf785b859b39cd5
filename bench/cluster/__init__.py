"""Describing and searching on several machines, by Ray; nothing here is imported unless asked."""
