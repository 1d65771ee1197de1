"""Reading what a worker sends without ever waiting for the rest of it."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from benchsuite.execution.messages import LONGEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

_HEADER = struct.Struct("!i")
"""The length that `Connection.send_bytes` writes before a message; -1 stands before a very long one."""
_PIECE = 1 << 16


class Inbox:
    """The messages of one connection, which arrive in pieces of any size.

    Args:
        connection: the parent's end; its other users would find it non-blocking.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.open = True
        """Whether more can come."""
        self._buffer = bytearray()
        os.set_blocking(connection.fileno(), False)

    def take(self, longest: int) -> Iterator[bytes]:
        """Yield the messages that are there, and stop after so many bytes.

        Raises:
            ValueError: what comes is longer than any message.
        """
        left = longest
        while True:
            yield from self._whole()
            if not self.open or left <= 0:
                return
            try:
                piece = os.read(self.connection.fileno(), _PIECE)
            except BlockingIOError:
                return
            except OSError:
                piece = b""
            self.open = bool(piece)
            self._buffer += piece
            left -= len(piece)

    def close(self) -> None:
        """Close the connection."""
        self.open = False
        self.connection.close()

    def _whole(self) -> Iterator[bytes]:
        """The messages of which every byte is there."""
        while len(self._buffer) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer)
            if not 0 <= length <= LONGEST:
                raise ValueError(f"a worker sent what is no message: it is longer than {LONGEST >> 20} MiB")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield message
