"""What a session holds: its caches, their positions, and the sum before anything is allocated."""
