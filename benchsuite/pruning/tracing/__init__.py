"""How the coupled groups of a network are found, and verified by removing them."""
