"""Metrics, scores, intervals and the protocol card."""
