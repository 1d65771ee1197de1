"""File names of pages and addresses of trials, safe for any names of plugins."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from benchsuite.store.keys import is_content_key


def slug(*names: str) -> str:
    """A readable part of at most 48 plain characters, and a hash that distinguishes different names."""
    plain = unicodedata.normalize("NFKD", "-".join(names)).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:48].strip("-")
    digest = hashlib.sha256("\x1f".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{words}-{digest}" if words else digest


def trial_id(key: str) -> str:
    """How `trial.html#…` names a trial: by its content key, or by a hash of a key of another form."""
    if is_content_key(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:20]
