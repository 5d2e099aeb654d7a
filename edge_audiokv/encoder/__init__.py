"""Audio to embeddings in the space of the LLM's tokens."""
