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
    places = dict(unpacked(site / "trials" / "index.js")["shards"])
    for path in sorted((site / "trials").glob("*.js")):
        if path.stem == "index":
            continue
        shard = unpacked(path)
        assert places.pop(path.stem) == "".join(address[:8] for address in shard["ids"])
        parts = {part: _rows(shard[part]) for part in ("own", "axes", "metrics", "classes", "stages")}
        for i, address in enumerate(shard["ids"]):
            assert address not in found
            own = parts["own"][i]
            found[address] = own | {name: rows[i] for name, rows in parts.items() if name != "own"}
            found[address]["shared"] = dict(shard["shared"][n] for n in own["shared"])
    assert not places
    return found


def unpacked(path: Path) -> Any:
    match = re.fullmatch(rb'globalThis\.benchsuiteShard="([A-Za-z0-9+/=]*)";\n', path.read_bytes())
    assert match, path
    return json.loads(gzip.decompress(base64.b64decode(match[1])))


def _rows(folded: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a part, which are kept as columns."""
    columns = [iter(values) for values in folded["columns"]]
    kinds = [folded["kinds"][kind] for kind in folded["of"]]
    found = [{folded["names"][place]: next(columns[place]) for place in kind} for kind in kinds]
    assert all(next(column, None) is None for column in columns), "no value is left"
    return found
