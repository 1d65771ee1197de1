"""`submit`: a run's records as one file that can be sent."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from benchsuite.commands.exit_codes import FAILED, OK
from benchsuite.commands.host import host_provenance
from benchsuite.commands.printing import say
from benchsuite.drawing.terminal import open_console
from benchsuite.errors import UsageError
from benchsuite.publishing.results_file import Header, packed, write_published
from benchsuite.publishing.signatures import check_signature, sign, signature_file
from benchsuite.registry.discovery import discover_apart
from benchsuite.store.counting import counted
from benchsuite.store.files import read_regular, write_atomically
from benchsuite.store.run_directory import RunDirectory
from benchsuite.suite.missing import missing_plugins, told
from benchsuite.suite.sections import usable_name

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from benchsuite.store.record import TrialRecord


_VARIANTS = ("reversed(", "shuffled(", "scratch(")


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("run", type=Path, metavar="DIR")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="default: <suite name>.jsonl.gz; .gz compresses"
    )
    parser.add_argument(
        "--sign",
        type=Path,
        metavar="KEYFILE",
        help="sign the file with an SSH key, by ssh-keygen; the signature is FILE.sig beside it",
    )


def run(options: Namespace) -> int:
    """Pack a complete run's records with its suite into one file."""
    directory = RunDirectory(options.run)
    found = directory.results()
    console = open_console()
    suite = _suite_of(directory, found.records)
    name = str(suite["suite"]["name"])
    output: Path = options.output or Path(f"{name}.jsonl.gz")
    for path in (output, signature_file(output)):
        if os.path.lexists(path):
            raise UsageError(f"not overwritten: {path} exists already; choose another name with --output")
    if not found.records:
        raise UsageError(f"{options.run} has no records to send; run its suite first")
    if found.pending or found.problems:
        for line in found.problems:
            say(console, line)
        say(
            console,
            f"{counted(found.pending, 'trial')} of the suite without an outcome yet; run it to its end first",
        )
        return FAILED
    versions = {
        n: str(v) for n, v in host_provenance().items() if n in ("benchsuite", "torch", "python", "commit")
    }
    header = Header(name=name, suite=tomli_w.dumps(suite), cells=len(found.records), versions=versions)
    signature = None
    if options.sign is not None:  # ahead of writing, so that a failure leaves nothing
        signature = sign(packed(header, found.records, compress=output.suffix == ".gz"), options.sign)
    write_published(output, header, found.records)
    hosts = sorted({str(r.provenance["host"]) for r in found.records if "host" in r.provenance})
    say(console, f"{output}: {counted(len(found.records), 'trial')}, {output.stat().st_size:,} bytes")
    if signature is not None:
        write_atomically(signature_file(output), signature)
        say(console, f"{signature_file(output)}: {check_signature(output).words}")
    say(
        console,
        f"it names the machine{'s' if len(hosts) > 1 else ''} {', '.join(hosts)} and holds the texts of "
        "errors; read it before you send it",
    )
    say(console, f"check it with: benchsuite verify {output}{_plugin_files(suite)}")
    return OK


def _plugin_files(suite: dict[str, Any]) -> str:
    """What the command that verifies a suite's records needs beside the installed plugins."""
    registry, strangers = discover_apart()
    strangers.close()
    missing = missing_plugins(suite, registry)
    return f" --plugin FILE, the plugin file of {told(missing)}" if missing else ""


def _suite_of(directory: RunDirectory, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """The run's suite with the scorers that "all" stood for when it ran: elsewhere others are installed."""
    try:
        suite = tomllib.loads(read_regular(directory.suite_file).decode())
        usable_name(suite["suite"]["name"])
        listed: list[Any] = suite["suite"]["scorers"]
        named = [str(entry["name"] if isinstance(entry, dict) else entry) for entry in listed]
    except FileNotFoundError:
        raise UsageError(f"{directory.path} has no suite.toml, so nobody could check its records") from None
    except KeyError as error:
        raise UsageError(f"{directory.suite_file} cannot be read: it has no {error}") from None
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{directory.suite_file} cannot be read: {error}") from error
    if "all" in named:
        labels = [str(r.axes["scorer"]) for r in records]
        ran = {label.partition("(")[0] for label in labels if not label.startswith(_VARIANTS)}
        rest = sorted(ran - {"random", *named})
        kept = [entry for entry, name in zip(listed, named, strict=True) if name != "all"]
        suite["suite"]["scorers"] = [*rest, *kept]
    return suite
