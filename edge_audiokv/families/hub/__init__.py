"""Checkpoints by their name on the hub: what is needed of them, in the hub's own cache."""
