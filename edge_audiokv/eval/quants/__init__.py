"""Which type of weights, rows, policy and budget to run: damage and cost of each on one axis."""
