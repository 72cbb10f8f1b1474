"""Adversarial attacks on networks, alone and behind rank truncation."""
