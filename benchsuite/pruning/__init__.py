"""Coupled groups, selection under a budget, surgery and masks."""
