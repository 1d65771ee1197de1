"""Waveforms compared with their definition and with the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import benchsuite
from benchsuite_datasets.waveform import Waveform

NOWHERE = Path("/nonexistent")


@pytest.mark.parametrize("attributes", [21, 40])
def test_waveform_has_the_definitions_moments(attributes: int) -> None:
    """With E[u] = 1/2, E[u (1-u)] = 1/6 and E[u^2] = 1/3, mean and second moment are computed by hand."""
    data = Waveform(attributes=attributes).load(NOWHERE)
    assert data.input_shape == (attributes,)
    assert len(data.train) + len(data.validation) + len(data.test) == 5000
    inputs = torch.cat([data.train.inputs, data.validation.inputs, data.test.inputs]).double().numpy()
    labels = torch.cat([data.train.labels, data.validation.labels, data.test.labels]).numpy()

    def wave(centre: int, place: int) -> float:
        return max(6.0 - abs(place - centre), 0.0) if place <= 21 else 0.0

    for label, (first, second) in enumerate([(7, 15), (7, 11), (15, 11)]):
        own = inputs[labels == label]
        assert 1500 < len(own) < 1850
        for place in range(1, attributes + 1):
            a, b = wave(first, place), wave(second, place)
            mean = (a + b) / 2
            second_moment = (a * a + b * b) / 3 + a * b / 3 + 1
            values = own[:, place - 1]
            assert abs(values.mean() - mean) < 4.5 * values.std() / len(own) ** 0.5
            squares = values**2
            assert abs(squares.mean() - second_moment) < 4.5 * squares.std() / len(own) ** 0.5


def test_waveform_variants_share_their_first_attributes() -> None:
    few, many = Waveform(attributes=21).load(NOWHERE), Waveform().load(NOWHERE)
    assert torch.equal(few.test.inputs, many.test.inputs[:, :21])


def test_waveform_is_normalised_or_left_as_it_is() -> None:
    own, raw = Waveform(attributes=21).load(NOWHERE), Waveform(attributes=21, normalise="none").load(NOWHERE)
    assert torch.equal(own.train.inputs, raw.train.inputs)
    assert list(own.mean) == pytest.approx(own.train.inputs.double().mean(0).tolist())
    assert list(own.std) == pytest.approx(own.train.inputs.double().std(0, correction=0).tolist())
    assert (raw.mean, raw.std) == ((0.0,) * 21, (1.0,) * 21)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,2,x,0", "is malformed"),
        ("1,2,0", "has 3 columns"),
        (",".join(["1"] * 21 + ["3"]), "row 2 is malformed"),
    ],
)
def test_waveform_of_uci_malformed(tmp_path: Path, row: str, message: str) -> None:
    file = tmp_path / "waveform" / "waveform.data"
    with pytest.raises(benchsuite.DataError, match=r"there is no file .*waveform\.data"):
        Waveform(attributes=21, source="uci").load(tmp_path)
    file.parent.mkdir()
    good = ",".join(["1"] * 21 + ["0"])
    file.write_text(f"{good}\n{row}\n" if row.count(",") == 21 else f"{row}\n")
    with pytest.raises(benchsuite.DataError, match=message):
        Waveform(attributes=21, source="uci").load(tmp_path)


@pytest.mark.data
@pytest.mark.parametrize("attributes", [21, 40])
def test_generated_waveforms_are_distributed_as_ucis(attributes: int, data_folder: Path) -> None:
    ours, theirs = (
        Waveform(attributes=attributes, source=source).load(data_folder) for source in ("generated", "uci")
    )
    for label in range(3):
        a, b = (d.train.inputs[d.train.labels == label].double() for d in (ours, theirs))
        error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
        assert ((a.mean(0) - b.mean(0)) / error).abs().max() < 4.5
        assert (a.var(0) / b.var(0) - 1).abs().max() < 0.25
