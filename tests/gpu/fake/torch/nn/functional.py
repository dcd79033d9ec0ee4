"""Nothing of torch.nn.functional."""
