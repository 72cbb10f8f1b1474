"""Rank truncation and its controls, and the rank spectrum of networks."""
