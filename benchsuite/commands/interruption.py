"""Whether somebody has pressed Ctrl-C: what was at work then may have made another error of it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


class _Asked:
    """Remembers Ctrl-C, and raises `KeyboardInterrupt` as Python does by itself."""

    def __init__(self) -> None:
        self.before = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.before = True
        raise KeyboardInterrupt


_asked = _Asked()


def listen() -> None:
    """Remember Ctrl-C from now on, unless this process ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _asked)


def was_interrupted() -> bool:
    """Whether it was pressed, since `listen` and as long as no command has a handler of its own."""
    return _asked.before
