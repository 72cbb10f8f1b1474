"""Builds the shards of a plan: in this process, on local Ray workers or on a Ray cluster."""
