"""What is told with a final text: word times, confidence, a doubt about the language."""
