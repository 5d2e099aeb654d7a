"""Checkpoints of real audio LLMs into models of this program; needs the `convert` extra."""
