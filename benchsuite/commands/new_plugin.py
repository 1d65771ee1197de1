"""`new-plugin`: a plugin to start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.commands.exit_codes import OK
from benchsuite.commands.printing import put
from benchsuite.errors import UsageError
from benchsuite.registry.scaffold import PACKAGE_FILES, SCORER_FILE
from benchsuite.store.files import write_atomically

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("name", help="the scorer's name, such as weight-entropy")
    parser.add_argument(
        "--package", action="store_true", help="a whole package with an entry point, not one file"
    )
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="where to write it (default: here)"
    )


def run(options: Namespace) -> int:
    """Write a scorer plugin to start from, as one file or as a package."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", options.name):
        raise UsageError(
            f"{options.name!r} is no plugin name: lower-case words joined by hyphens, as in weight-entropy"
        )
    words = {
        "name": options.name,
        "module": options.name.replace("-", "_"),
        "class_name": "".join(word.capitalize() for word in options.name.split("-")),
    }
    files = (
        {f"benchsuite-{options.name}/{path}": text for path, text in PACKAGE_FILES.items()}
        if options.package
        else {f"{words['module']}.py": SCORER_FILE}
    )
    targets = {options.output / path.format(**words): text for path, text in files.items()}
    taken = [str(path) for path in targets if path.exists()]
    if taken:
        raise UsageError(f"not overwritten: {', '.join(taken)} exists already")
    for path, text in targets.items():
        write_atomically(path, text.format(**words))
        put(str(path))
    return OK
