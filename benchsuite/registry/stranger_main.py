"""A process that loads the plugins of one stranger and answers questions about them in lines of JSON.

Started as `python -P -m benchsuite.registry.stranger_main`; the first line it reads is the plugin's source.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchsuite.contracts.concepts import ConceptPlugin
from benchsuite.contracts.dataset import DatasetPlugin
from benchsuite.contracts.digests import source_digest, source_libraries
from benchsuite.contracts.model import ModelFamily, ModelPlugin
from benchsuite.contracts.plugin import ABSENT, content_of
from benchsuite.errors import BenchsuiteError
from benchsuite.metrics.metric import Metric
from benchsuite.registry.loading import Host, PluginSource
from benchsuite.registry.raised_at import plugin_line
from benchsuite.registry.supervising import fork_supervised
from benchsuite.scoring.scorer import Scorer
from benchsuite.store.keys import plain
from benchsuite.store.record import TrialRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchsuite.contracts.plugin import Kind, Plugin

OBSERVED = ("benchsuite_trial_started", "benchsuite_trial_finished")


def main(answer: Callable[[Host, Mapping[str, Any]], object] | None = None) -> None:
    """Answer until the parent closes its end.

    Args:
        answer: what answers questions; the default answers those that discovery and plans have.
    """
    answer = answer or _answer
    fork_supervised()
    # Questions and answers have descriptors that nobody else knows: a plugin may print, or close its output.
    questions = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    source = PluginSource(**json.loads(questions.readline()))
    host = Host()
    host.add(source)

    def say(answer: object) -> None:
        answers.write(json.dumps(answer, default=plain) + "\n")
        answers.flush()

    say(described(host))
    for line in questions:
        try:
            say({"answer": answer(host, json.loads(line))})
        except BenchsuiteError as error:
            say({"error": str(error), "kind": type(error).__name__})
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a stranger's code may raise anything
            say({"error": f"{type(error).__name__}: {error}{plugin_line(error)}"})
    # No interpreter shutdown: a plugin's threads or exit handlers must not hold the parent.
    os._exit(0)


def described(host: Host) -> dict[str, Any]:
    """What the host process wants to know of every class, and which hooks there are."""
    plugins = []
    for info in host.registry.infos:
        entry: dict[str, Any] = {"info": asdict(info)}
        if info.status == "ok":
            cls = host.registry.classes(cast("Kind", info.kind))[info.name]
            entry |= {"facts": _facts(cls), "source": source_digest(cls), "libraries": source_libraries(cls)}
        plugins.append(entry)
    observes = [name for name in OBSERVED if getattr(host.manager.hook, name).get_hookimpls()]
    return {"plugins": plugins, "observes": observes}


def _facts(cls: type[Plugin]) -> dict[str, Any]:
    """The class variables that decide what a plan does with a plugin."""
    facts: dict[str, Any] = {"name": cls.name, "family": issubclass(cls, ModelFamily)}
    facts |= {name: getattr(cls, name) for name in cls._planned_by}
    if issubclass(cls, ModelPlugin):
        facts["recipe"] = cls.recipe.model_dump()
    return facts


def _answer(host: Host, question: Mapping[str, Any]) -> object:
    match question:
        case {"ask": "create", "kind": kind, "name": name, "parameters": parameters}:
            return host.registry.create(kind, name, parameters).parameters
        case {"ask": "content", "kind": kind, "name": name, "parameters": parameters, "folder": folder}:
            return _content(host.registry.create(kind, name, parameters), folder)
        case {"ask": "architectures", "name": name}:
            return list(cast("type[ModelFamily]", host.registry.classes("model")[name]).architectures())
        case {"ask": "observe", "hook": hook, "arguments": arguments}:
            return _observe(host, hook, dict(arguments))
    raise ValueError(f"there is no question {question.get('ask')!r}")


def _content(plugin: Plugin, folder: str | None) -> str:
    """What `content_of` says of a plugin's files; raises `DataError` where they are not there."""
    if isinstance(plugin, DatasetPlugin | ConceptPlugin):
        fingerprint = partial(plugin.fingerprint, Path(folder or ""))
    else:
        assert isinstance(plugin, Scorer | ModelPlugin | Metric)
        fingerprint = partial(plugin.fingerprint)
    found = content_of(fingerprint)
    return fingerprint() if found == ABSENT else found


def _observe(host: Host, hook: str, arguments: dict[str, Any]) -> list[str]:
    """Call a hook; returns what its implementations raised."""
    if "record" in arguments:
        arguments["record"] = TrialRecord.from_json(json.dumps(arguments["record"]))
    raised = []
    for implementation in getattr(host.manager.hook, hook).get_hookimpls():
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except Exception as error:  # noqa: BLE001 - a stranger's code
            raised.append(f"{implementation.plugin_name} raised {type(error).__name__}: {error}")
    return raised


if __name__ == "__main__":
    main()
