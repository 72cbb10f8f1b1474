"""Reads an output's manifest as claims to verify."""
