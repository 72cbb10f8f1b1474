"""Tests of the compiled kernels: lanes, small planes, large planes."""
