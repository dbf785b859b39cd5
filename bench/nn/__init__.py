"""Losses and heads that methods train with."""
