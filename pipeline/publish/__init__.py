"""``python -m pipeline.publish``: uploads an output to the Hugging Face Hub, and compares what arrived with the manifest."""
