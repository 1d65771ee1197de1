"""The parent's end of a process that has a stranger's plugins loaded."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import select
import subprocess
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchsuite.errors import DataError, PluginError, UsageError
from benchsuite.registry.orphans import kill_tree, known
from benchsuite.registry.signal_names import signal_name
from benchsuite.store.texts import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.registry.loading import PluginSource

IMPORT_SECONDS = 120.0
"""How long a plugin's import may take."""
ANSWER_SECONDS = 600.0
"""How long an answer may take; a fingerprint may read large files."""
_PATIENCE_SECONDS = 5.0
"""After so long somebody who waits is told for what."""
_GRACE_SECONDS = 5.0
"""How long a process may take to end all that it has started."""
_LONGEST = 16 << 20
"""Bytes of the longest answer."""
_logger = logging.getLogger(__name__)


class NoAnswer(PluginError):  # noqa: N818 - it says what is the case, as the other errors do
    """A plugin's process did not answer in time."""


class StrangerProcess:
    """A process with the plugins of one source. Whatever they do to it, here it is an error.

    Args:
        source: where the plugins come from.
        module: what it runs: `stranger_main`, or what answers further questions.
    """

    def __init__(self, source: PluginSource, module: str = "benchsuite.registry.stranger_main") -> None:
        self.source = source
        self._rest = b""
        self.is_over = False
        """Whether it has ended, or been ended, while it was to answer."""
        self.was_late = False
        """Whether it was ended since it took too long."""
        self._process = subprocess.Popen(  # noqa: S603 - this Python and a module of this project
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )
        self._send(asdict(source))

    def description(self) -> dict[str, Any]:
        """What the process says of its plugins, once; raises `PluginError`."""
        found: object = self._read("while it was imported", IMPORT_SECONDS, _PATIENCE_SECONDS)
        if not isinstance(found, dict):
            raise PluginError("its process sent no description")
        return found

    def ask(self, question: Mapping[str, Any], seconds: float = ANSWER_SECONDS) -> Any:
        """The answer to a question; raises `UsageError`, `DataError` or `PluginError`."""
        self._send(question)
        answer = self._read(f"when it was asked for its {question['ask']}", seconds)
        match answer:
            case {"answer": found}:
                return found
            case {"error": str(text)}:
                kinds = {"UsageError": UsageError, "DataError": DataError}
                raise kinds.get(str(answer.get("kind")), PluginError)(printable(text))
        what = f"sent no usable answer when it was asked for its {question['ask']}"
        raise PluginError(f"{self.source.origin}: its process {what}")

    def kill(self) -> None:
        """Have the process killed with all that it started; whoever waits for an answer gets an error."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._process.terminate()

    def close(self) -> None:
        """Kill the process with all that it started, when nobody waits for it any more."""
        self.kill()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:  # what stands over it is stopped, or was
            if (process := known(self._process.pid)) is not None:
                kill_tree(process)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def _send(self, question: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        # A process that is gone says so where its answer is read.
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()

    def _read(self, when: str, seconds: float, patience: float = math.inf) -> Any:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        now = time.monotonic()
        deadline, patient_until = now + seconds, now + patience
        while b"\n" not in self._rest:
            now = time.monotonic()
            if now >= deadline:
                self.close()
                self.is_over = self.was_late = True
                raise NoAnswer(f"its process did not answer within {seconds:g} s {when}")
            if now >= patient_until:
                patient_until = deadline
                _logger.warning(
                    "waiting for plugin %s, at most %g s: it gives no answer %s",
                    *(self.source.origin, seconds, when),
                )
            if not select.select([descriptor], [], [], max(0.0, min(deadline, patient_until) - now))[0]:
                continue
            part = os.read(descriptor, 1 << 16)
            self._rest += part
            if not part or len(self._rest) > _LONGEST:
                self.is_over = True
                raise PluginError(f"its process {self._end()} {when}")
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise PluginError(f"its process sent what is no answer {when}: {error}") from error

    def _end(self) -> str:
        """How the process ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.poll()
        self.close()
        if code is None:
            return "closed its output"
        return f"was killed by {signal_name(-code)}" if code < 0 else f"exited with code {code}"
