"""How a worker process begins, apart from what it does: the parent names this and never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from benchsuite.execution.jobs import Job
    from benchsuite.execution.surroundings import Surroundings


def main(connection: Connection, job: Job, surroundings: Surroundings, device: str) -> None:
    """Do the job and tell the parent about it over the connection."""
    from benchsuite.execution import worker

    worker.main(connection, job, surroundings, device)
