"""What was said, for assistants: tools of the Model Context Protocol over an archive."""
