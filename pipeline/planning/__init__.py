"""What to build: options, job, plan, and the records and manifest of an output."""
