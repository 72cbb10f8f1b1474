"""NumPy arrays of images with labels: .npy files, .npz archives, CIFAR-10-C, CIFAR-10.1 and MedMNIST."""
