"""Nothing of torchvision."""
