"""The production plan: an optimiser of batches on a grid of slots, at the whole price."""
