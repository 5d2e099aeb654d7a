"""Model entries, the cache of fetched files, and what a GGUF says about itself."""
