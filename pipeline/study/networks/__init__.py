"""Networks: architectures, weights, and how ``--model`` is loaded."""
