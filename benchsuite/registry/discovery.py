"""Discovery: shipped plugins are loaded here, those of strangers in processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.registry.loading import PluginSource, installed, load_plugins
from benchsuite.registry.strangers import Strangers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pluggy

    from benchsuite.registry.registry import Registry


def discover(files: Sequence[Path] = ()) -> tuple[Registry, pluggy.PluginManager]:
    """Load the installed plugins (entry points of the group `benchsuite`) and files into this process.

    Returns the registry and the pluggy manager that carries the observers' hooks. Never raises for a
    plugin's fault: `Registry.infos` lists it with its error.
    """
    host = load_plugins([*installed(), *map(PluginSource.of_file, files)])
    return host.registry, host.manager


def discover_apart(files: Sequence[Path] = (), *, third_party: bool = True) -> tuple[Registry, Strangers]:
    """Load the shipped plugins here, and have each stranger's described by a process of its own.

    Code of strangers does not run in this process: what stands for their classes in the registry holds plain
    data, and asks that process for the rest.

    Args:
        files: plugin files.
        third_party: also find the installed plugins that are not shipped.
    """
    found = installed()
    host = load_plugins(source for source in found if source.shipped)
    others = [source for source in found if third_party and not source.shipped]
    strangers = Strangers([*others, *map(PluginSource.of_file, files)])
    strangers.register(host.registry)
    return host.registry, strangers


def discover_shipped() -> Registry:
    """Load the plugins that come with benchsuite and no others; later, `discover` finds them loaded."""
    return load_plugins(source for source in installed() if source.shipped).registry
