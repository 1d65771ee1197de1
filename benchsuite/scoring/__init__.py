"""Scorers, the data they get, and the checks of what they return."""
