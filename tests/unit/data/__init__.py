"""Tests of the training side, ``pipeline.data``, and of ``python -m pipeline.export``."""
