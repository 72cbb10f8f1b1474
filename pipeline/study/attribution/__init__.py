"""Rank Integrated Gradients: the pixels on which a prediction depends."""
