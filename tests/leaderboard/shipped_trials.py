"""The trials in a site's scripts, read as its page of one trial reads them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def shipped_trials(site: Path) -> dict[str, dict[str, Any]]:
    """Each trial by its address, with what it shares with others filled in."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((site / "trials").glob("*.js")):
        match = re.fullmatch(rb'globalThis\.benchsuiteShard="([A-Za-z0-9+/=]*)";\n', path.read_bytes())
        assert match, path
        shard = json.loads(gzip.decompress(base64.b64decode(match[1])))
        for address, trial in shard["trials"].items():
            assert path.stem == "all" or address.startswith(path.stem)
            assert address not in found
            found[address] = trial | {"shared": dict(shard["shared"][n] for n in trial["shared"])}
    return found
