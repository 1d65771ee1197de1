"""Scorers that come with a command: those that `--scorer` adds, and those of its plugin files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.errors import UsageError
from benchsuite.plan.contenders import scorers_of
from benchsuite.suite import ScorerRef
from benchsuite.suite.missing import HINT, missing_plugins

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from benchsuite.registry.registry import Registry
    from benchsuite.suite import Suite


def with_scorers(suite: Suite, names: Sequence[str], registry: Registry) -> Suite:
    """The suite with scorers added after its own, each with its defaults, unless it names them already.

    Raises:
        UsageError: there is no scorer of that name.
    """
    added: dict[str, ScorerRef] = {}
    listed = {ref.label for ref in suite.suite.scorers}
    for name in names:
        try:
            ScorerRef(name=name).create(registry)
        except UsageError as error:
            hint = f"; {HINT}" if missing_plugins({"suite": {"scorers": [name]}}, registry) else ""
            raise UsageError(f"--scorer {name}: {error}{hint}") from error
        if name not in listed:
            added[name] = ScorerRef(name=name)
    section = suite.suite.model_copy(update={"scorers": [*suite.suite.scorers, *added.values()]})
    return suite.model_copy(update={"suite": section})


def left_out(options: Namespace, suite: Suite, registry: Registry) -> list[str]:
    """A line for each plugin file with scorers that the suite does not run."""
    run = scorers_of(suite, registry)
    lines = []
    for file in dict.fromkeys(map(str, options.plugin)):
        own = [i.name for i in registry.infos if i.origin == file and i.kind == "scorer" and i.status == "ok"]
        absent = [name for name in own if name not in run]
        if absent:
            what = f"the scorer{'s' if len(absent) > 1 else ''} {', '.join(absent)}"
            lines.append(
                f"{file} registers {what}, which this suite does not name: add to suite.scorers, or to this "
                f"command {' '.join(f'--scorer {name}' for name in absent)}"
            )
    return lines
