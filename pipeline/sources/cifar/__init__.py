"""CIFAR-10 and CIFAR-100 in their official layouts."""
