"""The report of an output: one HTML file, from the output alone."""
