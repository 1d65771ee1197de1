"""Downloading published data sets through torchvision, once."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import sys
from typing import TYPE_CHECKING

import benchsuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMEOUT = 30.0
"""Seconds without an answer after which a connection counts as failed."""


def download(torchvision_class: str, folder: Path, *, done: Callable[[Path], bool], otherwise: str) -> None:
    """Download a data set into the data folder in torchvision's layout, unless it exists.

    Other processes that need data in the same folder wait for it. The progress bar is shown on the error
    output.

    Args:
        torchvision_class: name of the class in `torchvision.datasets`.
        folder: the data folder; created if it is absent.
        done: returns whether the files exist.
        otherwise: what a person without a network can do instead; part of the error message.

    Raises:
        DataError: it could not be downloaded.
    """
    if done(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder), _timeout():
            if done(folder):
                return
            from torchvision import datasets

            with contextlib.redirect_stdout(sys.stderr):
                getattr(datasets, torchvision_class)(folder, download=True)
    except Exception as error:
        raise benchsuite.DataError(
            f"{torchvision_class} is not in {folder} and could not be downloaded"
            f" ({type(error).__name__}: {' '.join(str(error).split())}); {otherwise}"
        ) from error


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    with (folder / ".download.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
