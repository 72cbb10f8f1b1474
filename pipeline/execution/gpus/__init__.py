"""Decomposition on GPUs through CuPy. Only this package imports CuPy, and only where a GPU is used."""
