"""Nothing of torch.nn."""
