"""Promises to outputs of earlier versions: they can still be read, verified, exported, reported, repaired and grown."""
