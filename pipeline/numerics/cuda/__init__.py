"""Eigensolvers that run on CUDA GPUs."""
