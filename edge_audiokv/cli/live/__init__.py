"""What `listen` does with a person at a terminal: keys, the line that is typed, and the desk."""
