"""What a study writes: tables, settings and arrays, and parts from which the same command resumes."""
