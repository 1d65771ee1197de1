"""Imported by the fork server for its effect; see `preloading`."""

from benchsuite.execution.preloading import preload

preload()
