"""The contents of an output, format by format: PNG, NPY, tar, Zarr, JSON."""
