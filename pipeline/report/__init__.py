"""The report of an output: one HTML file, made from the output alone."""
