"""Durable files and objects: publishing, locks and the locations of outputs."""
