"""Content keys: the same in every process."""

from __future__ import annotations

import subprocess
import sys

from benchsuite.store.keys import content_key


def test_the_order_of_a_set_is_not_part_of_a_key() -> None:
    code = "from benchsuite.store.keys import content_key; print(content_key({'a': {'x', 'y', 'z', 'w'}}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert found == {content_key({"a": frozenset("wxyz")}) + "\n"}
