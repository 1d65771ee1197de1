"""`validate`: whether a suite file is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.commands.arguments import add_data, add_plugins, add_scorers, add_suite
from benchsuite.commands.exit_codes import OK
from benchsuite.commands.foreseen import foreseen
from benchsuite.commands.loading import data_folder, discover_checked, doubtful_plugins, missing_files
from benchsuite.commands.own_scorers import left_out, with_scorers
from benchsuite.commands.plugins_together import check_together, plugins_of_suite
from benchsuite.drawing.terminal import open_console
from benchsuite.plan.contenders import check_size
from benchsuite.plan.published import with_cells
from benchsuite.suite import load_suite

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    add_suite(parser)
    add_plugins(parser)
    add_scorers(parser)
    add_data(parser)


def run(options: Namespace) -> int:
    """Say that a suite file is right; every error is raised with its line."""
    registry, strangers = discover_checked(options)
    suite = with_scorers(load_suite(options.suite, registry), options.scorer, registry)
    check_size(suite, registry)
    suite = with_cells(suite, registry, options.suite)
    check_together(plugins_of_suite(suite, registry), strangers)
    console = open_console()
    notes = [
        *doubtful_plugins(registry),
        *left_out(options, suite, registry),
        *foreseen(suite, registry),
    ]
    for line in [*notes, *missing_files(suite, registry, data_folder(options.data))]:
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    console.print(f"{options.suite}: the suite {suite.name!r} is valid", markup=False, soft_wrap=True)
    return OK
