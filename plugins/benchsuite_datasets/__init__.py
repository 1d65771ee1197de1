"""The plugins shipped with benchsuite."""
