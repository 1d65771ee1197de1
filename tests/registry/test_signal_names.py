from __future__ import annotations

import signal

import pytest

from benchsuite.registry.signal_names import signal_name


@pytest.mark.parametrize("number", range(1, 65))
def test_every_signal_has_a_name(number: int) -> None:
    named = {int(each): each.name for each in signal.Signals}
    assert signal_name(number) == named.get(number, f"signal {number}")
