"""Shards on Ray: one that this program starts on this machine, or a cluster that is already running."""
