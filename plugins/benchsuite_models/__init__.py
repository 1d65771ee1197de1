"""The models shipped with benchsuite."""
