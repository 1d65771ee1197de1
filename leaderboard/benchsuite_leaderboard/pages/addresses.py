"""File names of pages, safe whatever the names of plugins are."""

from __future__ import annotations

import hashlib
import re
import unicodedata


def slug(*names: str) -> str:
    """A readable part of at most 48 plain letters, and a hash that keeps different names apart."""
    plain = unicodedata.normalize("NFKD", "-".join(names)).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:48].strip("-")
    digest = hashlib.sha256("\x1f".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{words}-{digest}" if words else digest
