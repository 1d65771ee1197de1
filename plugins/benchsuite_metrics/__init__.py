"""The metrics that come with benchsuite, by the same public API as a stranger's."""
