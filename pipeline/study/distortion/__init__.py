"""Distortions of images: rank truncation, and controls with the same mean squared error."""
