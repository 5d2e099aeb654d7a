"""A question reaches back to what the cache has lost: turns are found again by their words."""
