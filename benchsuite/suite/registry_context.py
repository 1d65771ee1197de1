"""The registry that a suite file's names are checked against."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationInfo

    from benchsuite.registry.registry import Registry


def registry_of(info: ValidationInfo) -> Registry | None:
    """The registry to check names against, if the caller gave one."""
    context = info.context
    return context.get("registry") if isinstance(context, dict) else None
