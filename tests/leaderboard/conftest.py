"""Fixtures with made-up records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from made_up_records import HOSTILE, make_matrix, make_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite.store.record import TrialRecord


@pytest.fixture
def record() -> Callable[..., TrialRecord]:
    return make_record


@pytest.fixture
def matrix() -> Callable[..., list[TrialRecord]]:
    return make_matrix


@pytest.fixture
def hostile() -> str:
    return HOSTILE
