"""One file a family: its audio tower, and what its checkpoints say of sound, prompt and LLM."""
