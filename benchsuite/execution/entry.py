"""How a worker process begins, apart from what it does: the parent names this and never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from benchsuite.execution import Job, Workplace


def main(connection: Connection, job: Job, workplace: Workplace, device: str, threads: int) -> None:
    """Do the job and tell the parent about it over the connection."""
    from benchsuite.execution import worker

    worker.main(connection, job, workplace, device, threads)
