"""Data that a page loads as a script: a page from a local file may load scripts but no data."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any


def packed_script(value: dict[str, Any]) -> bytes:
    """A script that assigns the value, compressed and written as text, to a variable."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    packed = gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)
    return b'globalThis.benchsuiteShard="' + base64.b64encode(packed) + b'";\n'
