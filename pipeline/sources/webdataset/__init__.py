"""WebDataset shards of images with labels."""
