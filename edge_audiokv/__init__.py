"""On-device audio language models that listen for hours in a fixed amount of RAM."""

__version__ = "0.1.0"
