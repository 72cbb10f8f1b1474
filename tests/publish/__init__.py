"""Promises of ``python -m pipeline.publish``, with a Hub on loopback."""
