"""Decomposition and cuts of large planes."""
