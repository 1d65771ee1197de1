"""Runs the parts one after the other, each in a process of its own and within its share of the time."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gpurun.environment import COMMIT, HERE, ROOT, absent, commit, prepare_environment
from gpurun.figures import Figures, last_lines, read_figures, say
from gpurun.parts import PARTS
from gpurun.report import write_report

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

_ENDING_SECONDS = 5.0
"""Kept back for the last lines of the report."""
NO_GPU, LEFT_OUT = 2, 3
"""Exit codes of parts, beside 0 and 1."""


@dataclass
class Outcome:
    """How a part ended."""

    name: str
    status: Literal["done", "failed", "cut off", "left out", "no GPU"]
    seconds: float
    limit: float
    figures: list[dict[str, Any]]
    text: str = ""


def run_parts(options: Namespace, scratch: Path) -> int:
    """Run the parts and keep the report up to date after each; returns the exit code."""
    started = time.monotonic()
    chosen = [name for name in PARTS if name in options.only.split(",")]
    environment = prepare_environment(scratch, options.wheels, dry=options.dry)
    environment[COMMIT] = options.commit or commit()
    outcomes: list[Outcome] = []
    options.output.mkdir(parents=True, exist_ok=True)
    for position, name in enumerate(chosen):
        left = options.budget - _ENDING_SECONDS - (time.monotonic() - started)
        shares = [PARTS[other].share for other in chosen[position:]]
        limit = max(1.0, left * shares[0] / sum(shares))
        say(f"{name}: at most {limit:.0f} s")
        outcome = _run_apart(name, limit, options, scratch, environment)
        outcomes.append(outcome)
        say(f"{name}: {outcome.status} after {outcome.seconds:.0f} s")
        file = write_report(outcomes, options.output, dry=options.dry, seconds=time.monotonic() - started)
        if outcome.status == "no GPU":
            say("no CUDA device: nothing can be measured here; --dry tries everything without one")
            return NO_GPU
    say(f"the report is {file}")
    failed = [o.name for o in outcomes if o.status in ("failed", "cut off") or _has_failures(o)]
    say(f"something failed in: {', '.join(failed)}" if failed else "nothing failed")
    return 1 if failed else 0


def _has_failures(outcome: Outcome) -> bool:
    return any(
        line["kind"] == "failure" or (line["kind"] == "test" and line["outcome"] in ("failed", "error"))
        for line in outcome.figures
    )


def _run_apart(
    name: str, limit: float, options: Namespace, scratch: Path, environment: dict[str, str]
) -> Outcome:
    into, log = scratch / f"{name}.jsonl", scratch / f"{name}.log"
    command = [sys.executable, str(HERE / "run.py"), "--part", name, "--into", str(into)]
    command += ["--budget", str(limit)] + (["--dry"] if options.dry else [])
    command += ["--data", str(options.data.resolve())] if options.data else []
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_group(process)
    seconds = time.monotonic() - started
    text = last_lines(log.read_text(errors="replace"))
    statuses: dict[int | None, Any] = {None: "cut off", 0: "done", NO_GPU: "no GPU", LEFT_OUT: "left out"}
    status = statuses.get(code, "failed")
    if code is not None and code not in statuses:
        text = f"exit code {code}\n{text}"
    return Outcome(name, status, seconds, limit, read_figures(into), "" if status == "done" else text)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a part with all that it has started; nothing of it may disturb the next."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.poll()
    process.wait()


def run_part(options: Namespace) -> int:
    """Be one part: the process that `run_parts` has started."""
    scratch = options.into.parent / options.part
    scratch.mkdir(exist_ok=True)
    found = Figures(options.into, options.dry, scratch, options.data, options.budget)
    try:
        part = PARTS[options.part]
        if missing := absent(part.needs):
            found.left_out(part.title, f"not installed here: {', '.join(missing)}")
            return LEFT_OUT
        return int(importlib.import_module(f"gpurun.parts.{options.part}").run(found) or 0)
    except Exception:  # noqa: BLE001 - it is reported
        found.failure(options.part, traceback.format_exc())
        return 1
