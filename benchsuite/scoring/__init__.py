"""Scorers, what they see, and the checks on what they return."""
