"""A user's own parts in the training loop: stacked where torch.func.vmap takes them, alone where it does not."""
