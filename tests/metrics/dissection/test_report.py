"""Metrics and comparisons, checked against numbers computed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchsuite.contracts.concepts import Concept
from benchsuite.errors import BenchsuiteError, DataError
from benchsuite.metrics.dissection.report import Detector, compare, detectors, dissection_metrics
from benchsuite.metrics.dissection.result import Dissection, LayerDissection

if TYPE_CHECKING:
    from pathlib import Path

CONCEPTS = (
    Concept("red-c", "color"),
    Concept("wheel", "part"),
    Concept("car", "object"),
    Concept("blue-c", "color"),
)
PIXELS = np.array([100, 100, 100, 100])


def layer(name: str, intersections: list[list[int]], null: list[float] | None = None) -> LayerDissection:
    """Every unit's mask has 100 pixels in images of each category, so IoU = n / (200 - n)."""
    shared = np.array(intersections, np.int64).reshape(-1, 4)
    units = len(shared)
    chance = np.array(null or [0.0] * units).reshape(-1, units)
    return LayerDissection(
        name=name,
        thresholds=np.zeros(units, np.float32),
        intersections=shared,
        areas=np.full((units, 3), 100),
        null_ious=chance,
        null_concepts=np.arange(chance.size).reshape(chance.shape) // units,
        map_size=(2, 2),
        top_images=np.zeros((units, 1), np.int64),
        regions=np.zeros((units, 1, 2), np.uint8),
    )


def dissection(*layers: LayerDissection, **changes: Any) -> Dissection:
    content: dict[str, Any] = {
        "concepts": CONCEPTS,
        "pixels": PIXELS,
        "images_with": np.array([7, 2, 9, 4]),
        "images": 10,
        "mask_size": (3, 4),
        "iou": 0.05,
        "concepts_key": "k",
        "layers": layers,
    }
    return Dissection(**{**content, **changes})


FIRST = layer(
    "a",
    [[40, 0, 20, 0], [0, 0, 0, 0], [9, 5, 0, 0], [0, 30, 31, 0]],
    [0.06, 0.06, 0.0, 0.05, 0.01, 0.06, 0.0, 0.0],
)
SECOND = layer("b", [[0, 0, 0, 50], [20, 20, 0, 0]], [0.0, 0.2, 0.0, 0.0])


def test_ious_best_concepts_and_detectors() -> None:
    found = dissection(FIRST, SECOND)
    np.testing.assert_allclose(found.ious(FIRST)[0], [40 / 160, 0, 20 / 180, 0])
    concepts, values = found.best(FIRST)
    assert concepts.tolist() == [0, -1, 0, 2]
    np.testing.assert_allclose(values, [40 / 160, 0, 9 / 191, 31 / 169])
    assert found.best(SECOND)[0].tolist() == [3, 0]  # of a tie, the first concept counts
    assert detectors(found) == [
        Detector("b", 0, 3, 50 / 150, 4),
        Detector("a", 0, 0, 40 / 160, 7),
        Detector("a", 3, 2, 31 / 169, 9),
        Detector("b", 1, 0, 20 / 180, 7),
    ]
    assert len(detectors(dissection(FIRST, SECOND, iou=0.04))) == 5


def test_a_threshold_must_be_exceeded() -> None:
    assert detectors(dissection(FIRST, iou=40 / 160)) == []


def test_metrics() -> None:
    metrics = dissection_metrics(dissection(FIRST, SECOND))
    assert metrics == pytest.approx(
        {
            "interpretability/units": 6,
            "interpretability/detectors": 4,
            "interpretability/detectors_share": 4 / 6,
            "interpretability/concepts": 3,
            "interpretability/mean_best_iou": (40 / 160 + 9 / 191 + 31 / 169 + 50 / 150 + 20 / 180) / 6,
            "interpretability/color/detectors": 3,
            "interpretability/color/concepts": 2,
            "interpretability/part/detectors": 0,
            "interpretability/part/concepts": 0,
            "interpretability/object/detectors": 1,
            "interpretability/object/concepts": 1,
            "interpretability/null_detectors": (3 + 1) / 2,
            "interpretability/null_detectors_share": 2 / 6,
            "interpretability/null_concepts": 1,
            "interpretability/null_mean_best_iou": (0.24 + 0.2) / 12,
            "interpretability/median_images_with": 7,
        }
    )
    assert all(type(value) is float for value in metrics.values())
    without = dissection_metrics(dissection(FIRST, iou=0.9))
    assert "interpretability/median_images_with" not in without


def test_comparison_follows_kept_units() -> None:
    dense = dissection(FIRST, SECOND)
    # Of layer a, units 3 and 0 are left, in that order; the first changes its concept, the second keeps it.
    # Of layer b, the first is no longer a detector.
    after = dissection(
        layer("a", [[0, 31, 30, 0], [40, 0, 20, 0]]), layer("b", [[0, 0, 0, 5], [20, 20, 0, 0]])
    )
    found = compare(dense, after, {"a": (3, 0)})
    assert found.detectors == 4
    assert found.still_interpretable == 3 / 4
    assert found.same_concept == 2 / 3
    pairs = [
        (FIRST.intersections[3], [0, 31, 30, 0]),
        (FIRST.intersections[0], [40, 0, 20, 0]),
        ([20, 20, 0, 0],) * 2,
    ]
    ious = [[np.array(v) / (200 - np.array(v)) for v in pair] for pair in pairs]
    expected = np.mean([np.corrcoef(*pair)[0, 1] for pair in ious])
    assert found.iou_correlation == pytest.approx(expected)
    metrics = dissection_metrics(after, dense, {"a": (3, 0)})
    assert metrics["interpretability/still_interpretable"] == 3 / 4
    assert metrics["interpretability/same_concept"] == 2 / 3
    assert metrics["interpretability/iou_correlation"] == pytest.approx(expected)
    assert metrics["interpretability/detectors_dense"] == 4
    assert metrics["interpretability/concepts_dense"] == 3
    assert metrics["interpretability/units_dense"] == 6
    assert metrics["interpretability/detectors_share_dense"] == 4 / 6
    best = (40 / 160 + 9 / 191 + 31 / 169 + 50 / 150 + 20 / 180) / 6
    assert metrics["interpretability/mean_best_iou_dense"] == pytest.approx(best)


def test_units_that_cannot_be_followed_are_not_compared() -> None:
    dense, fewer = dissection(FIRST, SECOND), dissection(layer("a", [[40, 0, 20, 0]], [0.0, 0.0]), SECOND)
    metrics = dissection_metrics(fewer, dense, {"a": None, "b": (0, 1)})
    assert metrics["interpretability/detectors_dense"] == 4
    followed = {f"interpretability/{n}" for n in ("still_interpretable", "same_concept", "iou_correlation")}
    assert not followed & set(metrics)
    assert followed <= set(dissection_metrics(fewer, dense, {"a": (0,), "b": (0, 1)}))


def test_a_network_compared_with_itself_keeps_everything() -> None:
    dense = dissection(FIRST, SECOND)
    found = compare(dense, dense, {})
    assert (found.still_interpretable, found.same_concept) == (1, 1)
    assert found.iou_correlation == pytest.approx(1)


def test_shares_of_nothing_are_left_out() -> None:
    nothing, dense = dissection(layer("a", [[0] * 4] * 4)), dissection(FIRST)
    metrics = dissection_metrics(nothing, dense)
    assert metrics["interpretability/still_interpretable"] == 0
    assert "interpretability/same_concept" not in metrics
    assert "interpretability/still_interpretable" not in dissection_metrics(dense, nothing)


@pytest.mark.parametrize(
    ("other", "kept", "message"),
    [
        (dissection(FIRST, concepts_key="x"), {}, "different concepts"),
        (dissection(FIRST, iou=0.04), {}, "thresholds"),
        (dissection(SECOND), {}, "different layers: a and b"),
        (dissection(layer("a", [[0] * 4] * 2)), {}, "2 of 4 units left.* list .* has 4"),
        (dissection(layer("a", [[0] * 4] * 2)), {"a": (0, 4)}, "2 of 4"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    other: Dissection, kept: dict[str, Any], message: str
) -> None:
    with pytest.raises(BenchsuiteError, match=message):
        compare(dissection(FIRST), other, kept)


def test_a_saved_dissection_is_the_same(tmp_path: Path) -> None:
    before = dissection(FIRST, SECOND)
    before.save(tmp_path / "d.npz")
    after = Dissection.load(tmp_path / "d.npz")
    assert dissection_metrics(after) == dissection_metrics(before)
    assert (after.concepts, after.images, after.mask_size, after.concepts_key) == (CONCEPTS, 10, (3, 4), "k")
    for one, other in zip(before.layers, after.layers, strict=True):
        assert (one.name, one.map_size) == (other.name, other.map_size)
        for name in (
            "thresholds",
            "intersections",
            "areas",
            "null_ious",
            "null_concepts",
            "top_images",
            "regions",
        ):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.savez(tmp_path / "e.npz", x=np.zeros(1))
    with pytest.raises(DataError, match="no dissection"):
        Dissection.load(tmp_path / "e.npz")
