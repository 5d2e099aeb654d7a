"""What an encoder's rows tell about sound, by small classifiers on top of them."""
