"""The outputs that `layers = "auto"` chooses are those in the table of docs/dissection.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision

from benchsuite.errors import Unsupported
from benchsuite.metrics.dissection.layers import MapReader
from benchsuite.metrics.dissection.stages import choose_layers

PAGE = (Path(__file__).parents[2] / "docs/dissection.md").read_text()
ROWS = re.findall(r"^\| `(torchvision|timm)/(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)


def built(library: str, name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """A network without values, and an input of the size that it was made for."""
    size = 299 if name.startswith("inception") else 224
    # RegNet computes its widths with tensors, which need values.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        if library == "timm":
            model = timm.create_model(name)
        else:
            options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
            model = torchvision.models.get_model(name, **options)
    return model.to("meta").eval(), torch.zeros(1, 3, size, size, device="meta")


def chosen(library: str, name: str) -> str:
    """A row's last column: the outputs with units, height and width; or unsupported."""
    model, image = built(library, name)
    with torch.inference_mode():
        try:
            names = choose_layers(model, image)
        except Unsupported:
            return "unsupported"
        shapes: dict[str, torch.Size] = {}
        with MapReader(model, names, image).reading(1, lambda n, maps: shapes.update({n: maps.shape})):
            model(image)
    found = [(n, shapes[n]) for n in names]
    return ", ".join(f"`{n}` {units} at {h} x {w}" for n, (_, units, h, w) in found)


def test_the_table_has_twenty_networks() -> None:
    assert len({name for _, name, _ in ROWS}) >= 20


@pytest.mark.parametrize(("library", "name", "row"), ROWS, ids=[name for _, name, _ in ROWS])
def test_the_table_says_what_is_chosen(library: str, name: str, row: str) -> None:
    assert chosen(library, name) == row


def test_resnet50_has_the_units_of_frankle_and_bau() -> None:
    (row,) = [row for _, name, row in ROWS if name == "resnet50"]
    assert row.endswith("`layer4` 2048 at 7 x 7")
