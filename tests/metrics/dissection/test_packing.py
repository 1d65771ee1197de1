"""The content of a packed concept set, and the files that trials share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
import torch

from benchsuite.contracts.concepts import Concept, ConceptPlugin, ConceptSample, ConceptSet
from benchsuite.errors import PluginError
from benchsuite.metrics.dissection.packing import chosen_samples, open_concepts, pack

if TYPE_CHECKING:
    from pathlib import Path

CONCEPTS = (
    Concept("sky", "object"),
    Concept("red-c", "color"),
    Concept("odd", "zeta"),
    Concept("hall-s", "scene"),
)


def sample(maps: list[list[list[int]]], labels: tuple[int, ...] = (), value: int = 0) -> ConceptSample:
    image = np.full((3, 4, 4), value, np.uint8)
    return ConceptSample(image, np.array(maps, np.int64).reshape(-1, 2, 2), labels)


def small_set() -> ConceptSet:
    samples = [
        sample([[[1, 2], [0, 1]], [[1, 1], [2, 0]]], value=5),
        sample([], labels=(4, 4)),
        sample([[[4, 1], [0, 0]]], labels=(4,)),
    ]
    return ConceptSet(samples, CONCEPTS)


def test_a_concept_counts_once_per_pixel() -> None:
    packed = pack(small_set())
    assert packed.label_maps(torch.tensor([0]))[0].tolist() == [[[1, 2], [0, 1]], [[0, 1], [2, 0]]]
    assert packed.label_maps(torch.tensor([2]))[0].tolist() == [[[0, 1], [0, 0]]]
    assert packed.pixels.tolist() == [3 + 1, 2, 0, 8]
    assert packed.images_with.tolist() == [2, 1, 0, 2]


def test_categories_and_what_images_have_of_them() -> None:
    packed = pack(small_set())
    assert packed.categories == ("color", "object", "scene", "zeta")
    assert packed.has_category.tolist() == [
        [True, True, False, False],
        [False, False, True, False],
        [False, True, True, False],
    ]


def test_label_maps_of_a_batch_are_filled_up_with_empty_ones() -> None:
    maps = pack(small_set()).label_maps(torch.tensor([2, 1, 0, 2]))
    assert maps.shape == (4, 2, 2, 2)
    assert maps[0].tolist() == [[[0, 1], [0, 0]], [[0, 0], [0, 0]]]
    assert not maps[1].any()
    assert pack(small_set()).label_maps(torch.tensor([1])).shape == (1, 0, 2, 2)


def test_image_labels_name_positions_in_the_batch() -> None:
    positions, concepts = pack(small_set()).image_labels(torch.tensor([2, 0, 1, 2]))
    assert positions.tolist() == [0, 2, 3]
    assert concepts.tolist() == [3, 3, 3]
    positions, concepts = pack(small_set()).image_labels(torch.tensor([0]))
    assert positions.numel() == concepts.numel() == 0


def test_a_limit_takes_samples_evenly() -> None:
    assert chosen_samples(10, 4) == [0, 2, 5, 7]
    assert chosen_samples(3, 9) == chosen_samples(3, None) == [0, 1, 2]
    assert len(pack(small_set(), limit=2)) == 2


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (ConceptSet([], CONCEPTS), "0 images and 4 concepts"),
        (ConceptSet([sample([])], ()), "1 images and 0 concepts"),
        (ConceptSet([sample([[[5, 0], [0, 0]]])], CONCEPTS), "image 0 .* outside 1..4"),
        (ConceptSet([sample([[[-1, 0], [0, 0]]])], CONCEPTS), "outside 1..4"),
        (ConceptSet([sample([], labels=(0,))], CONCEPTS), "outside 1..4"),
        (
            ConceptSet(
                [sample([]), ConceptSample(np.zeros((3, 5, 4), np.uint8), np.zeros((0, 2, 2)))], CONCEPTS
            ),
            r"image 1 .* \(3, 5, 4\).* \(3, 4, 4\)",
        ),
        (
            ConceptSet(
                [sample([]), ConceptSample(np.zeros((3, 4, 4), np.uint8), np.zeros((1, 3, 2)))], CONCEPTS
            ),
            r"label maps of shape \(1, 3, 2\)",
        ),
        (ConceptSet([ConceptSample(np.zeros((3, 4, 4)), np.zeros((0, 2, 2)))], CONCEPTS), "float64"),  # type: ignore[arg-type]  # the error under test
        (ConceptSet([ConceptSample(np.zeros((3, 4, 4), np.uint8), np.zeros((2, 2)))], CONCEPTS), "expected"),
    ],
)
def test_broken_sets_say_what_is_wrong(broken: ConceptSet, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        pack(broken)


class Counted(ConceptPlugin):
    """Counts how often it is read."""

    name = "counted"
    read: ClassVar[int] = 0
    content: ClassVar[str] = "a"
    shade: int = 1

    def concepts(self, folder: Path) -> ConceptSet:
        type(self).read += 1
        return ConceptSet([sample([[[1, 0], [0, 2]]], value=self.shade), sample([], labels=(4,))], CONCEPTS)

    def fingerprint(self, folder: Path) -> str:
        return self.content


def test_a_set_is_packed_once_per_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "read", 0)
    first = open_concepts(Counted(), tmp_path, tmp_path / "cache")
    again = open_concepts(Counted(), tmp_path, tmp_path / "cache")
    assert Counted.read == 1
    assert first.key == again.key
    memory = pack(Counted().concepts(tmp_path))
    for name in ("images", "masks", "first_mask", "labelled", "pixels", "images_with", "has_category"):
        assert torch.equal(getattr(again, name), getattr(memory, name)), name
        assert getattr(again, name).dtype == getattr(memory, name).dtype
    assert again.concepts == CONCEPTS
    keys = {
        first.key,
        open_concepts(Counted(shade=2), tmp_path, tmp_path / "cache").key,
        open_concepts(Counted(), tmp_path, tmp_path / "cache", limit=1).key,
    }
    monkeypatch.setattr(Counted, "content", "b")
    keys.add(open_concepts(Counted(), tmp_path, tmp_path / "cache").key)
    assert len(keys) == 4
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == sorted(f"concepts-{key}" for key in keys)


def test_a_failed_reading_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Counted, folder: Path) -> ConceptSet:
        return ConceptSet([sample([]), sample([], labels=(9,))], CONCEPTS)

    monkeypatch.setattr(Counted, "concepts", broken)
    with pytest.raises(PluginError):
        open_concepts(Counted(), tmp_path, tmp_path / "cache")
    assert [file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()] == [".lock"]
