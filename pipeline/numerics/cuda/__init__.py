"""Batched eigensolvers on CUDA GPUs, and the tests that their results must pass."""
