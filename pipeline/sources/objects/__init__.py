"""Dataset objects: map-style datasets of (image, label) in this process."""
