"""Measured through a server: `edge-audiokv serve` as a process, and real clients of it."""
