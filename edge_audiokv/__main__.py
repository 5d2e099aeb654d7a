"""`python -m edge_audiokv` is the command line."""

from edge_audiokv.cli.start import start

start()
