"""Whether a plugin loads modules of its own that its content key does not cover."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchsuite.contracts.digests import uncovered_files
from benchsuite.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchsuite.contracts.plugin import Kind, Plugin


@contextmanager
def covered_imports(kind: Kind, plugin: Plugin) -> Iterator[None]:
    """Raise `PluginError` after the block if it loaded modules whose change would go unnoticed."""
    before = set(sys.modules)
    yield
    unknown = uncovered_files(type(plugin), set(sys.modules) - before)
    if unknown:
        files = ", ".join(map(str, unknown))
        raise PluginError(
            f"{kind} {plugin.name} loaded {files}, which no import in its source names, so that a change "
            "of it would go unnoticed; use an import statement"
        )
