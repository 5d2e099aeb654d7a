"""What live streams need: turns with the model, when their sound came, and how late their texts."""
