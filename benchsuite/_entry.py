"""Where the program begins: it ends quietly when it is interrupted, also while it is still being imported."""

from __future__ import annotations

import signal

INTERRUPTED = 2


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from benchsuite.commands.interruption import listen

        listen()
        from benchsuite.cli import main as command_line

        return command_line()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        from benchsuite.commands.interruption import was_interrupted

        if was_interrupted():  # while it was imported, in C code, which makes its own error of it
            return INTERRUPTED
        raise
    finally:
        # The command is over: one Ctrl-C more is not to disturb what is tidied up at the end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    raise SystemExit(main())
