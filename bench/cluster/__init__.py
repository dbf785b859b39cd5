"""Describing and searching on several machines with Ray; imported only on request."""
