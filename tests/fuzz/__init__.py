"""Fuzzing of every parser of bytes that somebody else wrote: ``python -m tests.fuzz PARSER --minutes 10``."""
