"""Measures speed, compared with the script that a careful researcher writes in an afternoon."""
