"""The production plan: a pure optimiser of batches on a grid of slots, at the whole price."""
