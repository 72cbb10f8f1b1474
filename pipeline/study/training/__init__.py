"""Training of networks on the variants of an output."""
