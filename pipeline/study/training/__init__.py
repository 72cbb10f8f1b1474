"""Trains networks on one variant of an output and tests them on full-rank images."""
