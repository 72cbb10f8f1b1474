"""Tests of ``pipeline.numerics.small``."""
