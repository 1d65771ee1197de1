"""Content keys and derived seeds: hashes that decide what is computed again and who sees the same draws."""

from __future__ import annotations

import hashlib
import json
import re

_KEY = re.compile(r"[0-9a-f]{20}")


def content_key(content: object) -> str:
    """A short hash of plain data: 20 hexadecimal digits, the same on every machine."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def is_content_key(text: object) -> bool:
    """Whether it is a content key, and so may be the name of a folder."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def derived_seed(purpose: str, *axes: object) -> int:
    """A seed in [0, 2**63) hashed from a purpose and the axes that shall share it.

    Training, recovery, scoring batches and ties leave the scorer out, so that all criteria see the same
    draws and comparisons are paired.
    """
    digest = hashlib.sha256(json.dumps([purpose, *axes], default=str).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def plain(value: object) -> object:
    """What stands for a value that JSON does not know; sets in an order that is the same in each process."""
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return str(value)
