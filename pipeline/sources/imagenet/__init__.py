"""ImageNet (ILSVRC 2012) as archives, folders or Kaggle's tree."""
