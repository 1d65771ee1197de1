"""What plugins are and what they return: the types that the host and all plugins share."""
