"""Lets the tests of this folder import what `make gpu` runs, and its stand-in for a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "fake")]
