"""Arithmetic on images: geometry, decomposition, cuts and rounding. No module here reads or writes files."""
