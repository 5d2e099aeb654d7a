"""Word times against another model's: how far off, and how often."""
