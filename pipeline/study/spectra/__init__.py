"""Rank spectra: the predictions of networks at every rank, as arrays, tables and text."""
