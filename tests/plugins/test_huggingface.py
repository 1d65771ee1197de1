"""Image classifiers of Hugging Face's transformers, as models of a suite."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

import benchsuite
from benchsuite import cli
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.tracing.trace import trace
from benchsuite.registry.discovery import discover_shipped
from benchsuite.store.run_directory import RunDirectory
from benchsuite.trials.usable_model import place_of_class_scores, return_class_scores, usable
from benchsuite_models import huggingface
from benchsuite_models.huggingface import HuggingFaceModel

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers, an extra, is not installed"
)
_HEADS = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 64}
SMALL: dict[str, dict[str, Any]] = {
    "vit": {**_HEADS, "patch_size": 8},
    "deit": {**_HEADS, "patch_size": 8},
    "swin": {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "patch_size": 2, "window_size": 4},
    "convnext": {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]},
    "resnet": {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]},
}
CLASSES = 7


def network_of(kind: str, shape: tuple[int, int, int]) -> nn.Module:
    torch.manual_seed(0)
    network = HuggingFaceModel(architecture=kind, config=SMALL[kind]).build(shape, CLASSES)
    network = usable(network.eval(), shape)
    return_class_scores(network, place_of_class_scores(network, torch.randn(2, *shape), CLASSES))
    return network


@needs_transformers
@pytest.mark.parametrize("kind", SMALL)
def test_all_of_its_units_can_go_and_a_cut_computes_what_the_masked_network_does(kind: str) -> None:
    network, inputs = network_of(kind, (3, 32, 32)), torch.randn(2, 3, 32, 32)
    make_plain(network, inputs)
    graph = trace(network, inputs)
    assert all(pin.output for pin in graph.pinned), graph.pinned
    removed = {group.name: tuple(range(0, group.size, 3)) for group in graph.groups}
    smaller = remove_units(network, graph, removed)
    assert check_surgery(network, smaller, graph, removed, inputs).relative_difference < 1e-6


@needs_transformers
@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("shape", [(1, 32, 32), (4, 64, 32)])
def test_any_channels_and_sizes(kind: str, shape: tuple[int, int, int]) -> None:
    if kind == "swin" and shape[1] != shape[2]:
        pytest.skip("its windows are square")
    with torch.no_grad():
        assert network_of(kind, shape)(torch.randn(2, *shape)).shape == (2, CLASSES)


@needs_transformers
def test_a_configuration_whose_size_is_a_list_gets_one() -> None:
    config = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 4]}
    network = HuggingFaceModel(architecture="hiera", config=config).build((3, 64, 64), CLASSES)
    with torch.no_grad():
        assert network.eval()(torch.randn(1, 3, 64, 64)).logits.shape == (1, CLASSES)


@needs_transformers
def test_the_types_are_those_that_the_library_lists() -> None:
    from transformers.models.auto import modeling_auto as library

    images = library.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    texts = library.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    assert HuggingFaceModel.architectures() == sorted({*images, *texts})
    assert set(SMALL) < set(images)
    assert {"bert", "distilbert", "roberta", "electra"} < set(texts)


@needs_transformers
@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("vit", {"hiden_size": 48}, "has no field 'hiden_size'; did you mean 'hidden_size'"),
        ("vit", {"_name_or_path": "x"}, "has no field '_name_or_path'"),
        ("vit", {"patch_size": 64}, r"cannot take images .*made for images of 224 x 224"),
        ("vit", {"num_attention_heads": 0}, "huggingface/vit"),
        ("resnet", {"hidden_act": "nothing"}, "huggingface/resnet"),
    ],
)
def test_what_cannot_be_is_said(kind: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(benchsuite.BenchsuiteError, match=message):
        HuggingFaceModel(architecture=kind, config=config).build((3, 32, 32), CLASSES)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    huggingface.listed.cache_clear()
    try:
        with pytest.raises(benchsuite.DataError, match=r"pip install 'benchsuite\[huggingface\]'"):
            discover_shipped().create("model", "huggingface/vit", {})
    finally:
        huggingface.listed.cache_clear()


@needs_transformers
def test_listing_the_types_imports_nothing_heavy() -> None:
    code = (
        "import sys; from benchsuite_models.huggingface import HuggingFaceModel as M; M.architectures();"
        "sys.exit(' '.join({'torch', 'transformers'} & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SUITE = """
[suite]
name = "hf"
seeds = [0]
sparsities = [0.3]
scorers = ["magnitude-l1", "taylor-activation"]

[[workload]]
dataset = "digits"
models = [{ name = "huggingface/vit", config = %s }]

[training]
epochs = 1

[recovery]
epochs = 0.2

[metrics]
latency = false
"""


@needs_transformers
@pytest.mark.slow
def test_a_run_and_what_it_exports(tmp_path: Path) -> None:
    heads = "num_attention_heads = 3, hidden_size = 24"
    config = f"{{ {heads}, num_hidden_layers = 1, intermediate_size = 10, patch_size = 4 }}"
    (tmp_path / "suite.toml").write_text(SUITE % config)
    run = tmp_path / "run"
    assert cli.main(["run", str(tmp_path / "suite.toml"), "--output", str(run), "--jobs", "1"]) == 0
    records = list(RunDirectory(run).results().records)
    assert {record.status for record in records} == {"done"}
    exported = tmp_path / "pruned"
    assert cli.main(["export", str(run), records[0].key, "--output", str(exported)]) == 0
    assert any(exported.iterdir())
