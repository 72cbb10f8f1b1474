"""Verifies the shards of an output: files, tars, labels and pixels."""
