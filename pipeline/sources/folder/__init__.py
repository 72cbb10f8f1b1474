"""Trees of image files, one folder per class."""
