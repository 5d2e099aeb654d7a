"""From logits to text: what is picked, what a guard cuts, and what is tried instead."""
