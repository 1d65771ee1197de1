"""What the exit code of a command says."""

from __future__ import annotations

OK, FAILED, INTERRUPTED, INTERNAL, USAGE, NOTHING = range(6)
"""Exit codes: all have an outcome, some failed, interrupted, internal error, bad usage, none selected."""
