"""Where the program begins: it ends quietly when it is interrupted, also while it is still being imported."""

from __future__ import annotations

import signal

INTERRUPTED = 2


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from benchsuite.cli import main as command_line

        return command_line()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        # The command is over: one Ctrl-C more is not to disturb what is tidied up at the end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    raise SystemExit(main())
