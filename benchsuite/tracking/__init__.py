"""MLflow as a view of the run directory, from which it can be filled again at any time.

Importing this package does not import MLflow.
"""

from __future__ import annotations

from benchsuite.tracking.connection import database_damage, repair_command, without_password
from benchsuite.tracking.tracker import Tracker, has_lost_store, is_behind, server_address, sync_command
from benchsuite.tracking.ui import ui_address, ui_command

__all__ = [
    "Tracker",
    "database_damage",
    "has_lost_store",
    "is_behind",
    "repair_command",
    "server_address",
    "sync_command",
    "ui_address",
    "ui_command",
    "without_password",
]
