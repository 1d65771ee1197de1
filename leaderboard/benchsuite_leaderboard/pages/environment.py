"""The Jinja environment that all pages share."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchsuite_leaderboard.pages import formats
from benchsuite_leaderboard.pages.addresses import board_address, slug, trial_id, workload_address
from benchsuite_leaderboard.pages.formats import speed_words
from benchsuite_leaderboard.pages.switch import switch

PACKAGE = Path(__file__).parent.parent
TEMPLATES = PACKAGE / "templates"
ASSETS = PACKAGE / "assets"


@cache
def environment() -> Environment:
    """An environment that escapes everything and refuses undefined names."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "clean": formats.clean,
        "interval": formats.interval,
        "in_percent": formats.in_percent,
        "number": formats.number,
        "percent": formats.percent,
        "reason": formats.reason,
        "shortened": formats.shortened,
        "signed": formats.signed,
        "signed_number": formats.signed_number,
        "sortable_number": formats.sortable_number,
        "sparsity": formats.sparsity,
        "workload": formats.workload,
    }
    made.globals |= {
        "board_address": board_address,
        "counted": formats.count,
        "slug": slug,
        "speed_words": speed_words,
        "switch": switch,
        "trial_id": trial_id,
        "version": version("benchsuite"),
        "workload_address": workload_address,
    }
    return made
