"""Names of the signals that end processes."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """The name of a signal, such as SIGSEGV; "signal 40" for one without a name, as real-time signals are."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
