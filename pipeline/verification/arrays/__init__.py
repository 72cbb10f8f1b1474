"""Verifies an output's Zarr arrays, and recomputes images in float64."""
