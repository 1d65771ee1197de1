"""Content keys: the same in every process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchsuite.store.keys import content_key, is_content_key


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


def test_a_content_key_is_known_as_one() -> None:
    assert is_content_key(content_key({"a": 1}))


@pytest.mark.parametrize(
    "text",
    [
        None,
        1,
        "",
        "a" * 19,
        "a" * 21,
        "A" * 20,
        "g" * 20,
        "../" + "a" * 17,
        "a" * 20 + "\n",
        ("a" * 20).encode(),
    ],
)
def test_what_is_none_is_not(text: object) -> None:
    assert not is_content_key(text)
