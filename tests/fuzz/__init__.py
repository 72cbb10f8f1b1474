"""Fuzzing of every parser of untrusted bytes: ``python -m tests.fuzz PARSER --minutes 10``."""
