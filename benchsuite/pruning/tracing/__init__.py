"""How the coupled groups of a network are found, and proved by removal."""
