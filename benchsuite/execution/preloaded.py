"""Imported by the fork server for its effect."""

from benchsuite.execution.fork_server import preload

preload()
