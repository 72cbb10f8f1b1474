"""The paper's experiments on real networks. Each command runs one experiment and writes its tables and figures."""
