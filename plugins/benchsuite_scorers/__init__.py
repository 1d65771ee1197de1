"""The criteria shipped with benchsuite, one file each, all through the public API."""
