"""Networks that are more than a sequence of layers; importing them imports torch."""
