"""Tests of ``pipeline.numerics.kernels.small``."""
