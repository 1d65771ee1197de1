"""The data sets shipped with benchsuite."""
