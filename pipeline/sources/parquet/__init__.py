"""Parquet files of images with labels, as the Hugging Face Hub has them."""
