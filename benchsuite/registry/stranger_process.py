"""The parent's end of a process that has a stranger's plugins loaded."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchsuite.errors import DataError, PluginError, UsageError
from benchsuite.registry.signal_names import signal_name
from benchsuite.store.texts import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.registry.loading import PluginSource

IMPORT_SECONDS = 120.0
"""How long a plugin's import may take."""
ANSWER_SECONDS = 600.0
"""How long an answer may take; a fingerprint may read large files."""
_LONGEST = 16 << 20
"""Bytes of the longest answer."""


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
            start_new_session=True,  # so that all it starts can be killed with it, and Ctrl-C is not for it
        )
        self._send(asdict(source))

    def description(self) -> dict[str, Any]:
        """What the process says of its plugins, once; raises `PluginError`."""
        found: object = self._read("while it was imported", IMPORT_SECONDS)
        if not isinstance(found, dict):
            raise PluginError("its process sent no description")
        return found

    def ask(self, question: Mapping[str, Any], seconds: float = ANSWER_SECONDS) -> Any:
        """The answer to a question; raises `UsageError`, `DataError` or `PluginError`."""
        self._send(question)
        answer = self._read(f"when it was asked for its {question['ask']}", seconds)
        if not isinstance(answer, dict):
            raise PluginError("its process sent no answer")
        if "error" in answer:
            kinds = {"UsageError": UsageError, "DataError": DataError}
            raise kinds.get(str(answer.get("kind")), PluginError)(printable(str(answer["error"])))
        return answer.get("answer")

    def kill(self) -> None:
        """Kill the process with all that it started; whoever waits for an answer gets an error."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the process with all that it started, when nobody waits for it any more."""
        self.kill()
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

    def _read(self, when: str, seconds: float) -> Any:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                self.close()
                self.is_over = self.was_late = True
                raise PluginError(f"its process did not answer within {seconds:g} s {when}")
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
