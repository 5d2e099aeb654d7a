"""Recordings and streams of bytes: what their headers claim, and the sound that is really there."""
