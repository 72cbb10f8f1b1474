"""Verifies the parts of an output in several processes."""
