"""Training of the default model; needs the `train` extra (PyTorch). The runtime imports none."""
