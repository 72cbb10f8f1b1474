"""The experiments of the paper on real networks, each one command with one figure, and the controls they need."""
