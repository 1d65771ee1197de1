"""Classifiers of texts: what they cost by other formulas, what padding does to them, what cuts leave."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import benchsuite
from benchsuite.contracts.inputs import TensorMap, example_of, shape_of
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.tracing.proof import randomise
from benchsuite.pruning.tracing.trace import trace
from benchsuite.scoring.check import run_scorer
from benchsuite.scoring.context import ScoringContext
from benchsuite.testing import tiny_trace
from benchsuite.trials.usable_model import place_of_class_scores, return_class_scores, usable
from benchsuite_models.huggingface import HuggingFaceModel
from benchsuite_models.mlp import Mlp
from benchsuite_models.small_resnet import SmallResNet
from benchsuite_models.text_encoder import SmallTextEncoder
from benchsuite_scorers.registration import SCORERS

if TYPE_CHECKING:
    from benchsuite.pruning.graph import PruningGraph

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers, an extra, is not installed"
)
VOCABULARY, STEPS, CLASSES, WIDTH, HEADS, HIDDEN, BLOCKS = 30, 7, 5, 12, 3, 10, 2
_BERT = {
    "hidden_size": WIDTH,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": HEADS,
    "intermediate_size": HIDDEN,
}
SMALL: dict[str, dict[str, Any]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": {**_BERT, "embedding_size": 8},
    "distilbert": {"dim": WIDTH, "n_layers": BLOCKS, "n_heads": HEADS, "hidden_dim": HIDDEN},
}
KINDS = ["own", *(pytest.param(kind, marks=needs_transformers) for kind in SMALL)]


def texts(fill: int = 0, samples: int = 6) -> TensorMap:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (samples, STEPS), generator=generator)
    lengths = torch.arange(samples) % STEPS + 1
    mask = (torch.arange(STEPS) < lengths[:, None]).long()
    parts = {"input_ids": ids * mask + fill * (1 - mask), "attention_mask": mask}
    return TensorMap(parts, "attention_mask")


def unpadded(inputs: TensorMap, row: int) -> TensorMap:
    length = int(inputs["attention_mask"][row].sum())
    return TensorMap({name: part[row : row + 1, :length] for name, part in inputs.parts.items()})


def inputs_like() -> benchsuite.NamedInputs:
    shape = shape_of(texts(), benchsuite.Tokens(VOCABULARY))
    assert isinstance(shape, benchsuite.NamedInputs)
    return shape


def built(kind: str) -> nn.Module:
    torch.manual_seed(0)
    own = SmallTextEncoder(width=WIDTH, heads=HEADS, hidden=HIDDEN, blocks=BLOCKS)
    model = own if kind == "own" else HuggingFaceModel(architecture=kind, config=SMALL[kind])
    network = usable(model.build_named(inputs_like(), CLASSES), inputs_like())
    return_class_scores(network, place_of_class_scores(network, texts(), CLASSES))
    return network.eval()


def traced(kind: str) -> tuple[nn.Module, PruningGraph]:
    network = built(kind)
    make_plain(network, example_of(texts()))
    return network, trace(network, texts())


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_at_padding_changes_nothing(kind: str) -> None:
    network = built(kind)
    randomise(network)
    fill = 0 if kind == "roberta" else 9  # RoBERTa counts positions by the ids that are not padding
    with torch.no_grad():
        scores = network(texts())
        assert torch.equal(network(texts(fill)), scores)
        alone = torch.cat([network(unpadded(texts(), row)) for row in range(6)])
    assert torch.allclose(alone, scores, atol=1e-5)


def test_the_own_encoder_costs_what_its_layers_say() -> None:
    cost = measure_cost(built("own"), texts())
    attention, linear = 4 * (WIDTH * WIDTH + WIDTH), 2 * WIDTH * HIDDEN + WIDTH + HIDDEN
    norms = 2 * WIDTH
    assert cost.params == (VOCABULARY + STEPS) * WIDTH + BLOCKS * (attention + linear + 2 * norms) + norms + (
        WIDTH * CLASSES + CLASSES
    )
    of_block = STEPS * (4 * WIDTH * WIDTH + 2 * WIDTH * HIDDEN) + 2 * STEPS * STEPS * WIDTH
    assert cost.macs == BLOCKS * of_block + WIDTH * CLASSES
    assert not cost.unknown_modules


@needs_transformers
def test_bert_costs_what_its_layers_say() -> None:
    cost = measure_cost(built("bert"), texts())
    attention, linear = 4 * (WIDTH * WIDTH + WIDTH), 2 * WIDTH * HIDDEN + WIDTH + HIDDEN
    norm, types, positions = 2 * WIDTH, 2, STEPS + 2
    embeddings = (VOCABULARY + types + positions) * WIDTH + norm
    pooler, classifier = WIDTH * WIDTH + WIDTH, WIDTH * CLASSES + CLASSES
    assert cost.params == embeddings + BLOCKS * (attention + linear + 2 * norm) + pooler + classifier
    of_block = STEPS * (4 * WIDTH * WIDTH + 2 * WIDTH * HIDDEN) + 2 * STEPS * STEPS * WIDTH
    assert cost.macs == BLOCKS * of_block + WIDTH * WIDTH + WIDTH * CLASSES


@pytest.mark.parametrize("kind", KINDS)
def test_whole_heads_and_hidden_units_can_go(kind: str) -> None:
    network, graph = traced(kind)
    sizes = sorted(group.size for group in graph.groups if group.size in (HEADS, HIDDEN))
    assert sizes == [HEADS] * BLOCKS + [HIDDEN] * BLOCKS
    randomise(network)
    removed = {group.name: tuple(range(0, group.size, 2)) for group in graph.groups}
    smaller = remove_units(network, graph, removed)
    check = check_surgery(network, smaller, graph, removed, texts())
    assert check.dtype == "float64"
    assert check.relative_difference < 1e-9
    with torch.no_grad():
        assert not torch.allclose(smaller(texts()), network(texts()), atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_is_what_zeros_in_the_readers_make(kind: str) -> None:
    """Masked by hand: the columns of the layer that reads a unit are zero; heads are blocks of columns."""
    network, graph = traced(kind)
    randomise(network)
    groups = [group for group in graph.groups if group.size in (HEADS, HIDDEN)]
    removed = {group.name: (1,) for group in groups}
    smaller = remove_units(network, graph, removed)
    with torch.no_grad():
        for group in groups:
            (reader,) = group.readers
            weight = network.get_submodule(reader.layer).weight
            width = weight.shape[1] // group.size
            weight[:, width : 2 * width] = 0
        found, expected = smaller(texts()), network(texts())
    assert torch.allclose(found, expected, atol=1e-5)
    assert measure_cost(smaller, texts()).params < measure_cost(network, texts()).params


@pytest.mark.parametrize("model", [Mlp(), SmallResNet()])
def test_models_of_one_tensor_say_so(model: benchsuite.ModelPlugin) -> None:
    with pytest.raises(
        benchsuite.Unsupported, match=r"takes one tensor, .*come by name \(input_ids \(7,\), att"
    ):
        model.build_named(inputs_like(), CLASSES)


def test_models_of_texts_say_so() -> None:
    with pytest.raises(benchsuite.Unsupported, match=r"takes inputs by name, .*one tensor, \(3, 8, 8\)"):
        SmallTextEncoder().build((3, 8, 8), CLASSES)
    others = benchsuite.NamedInputs({"left": (3,)}, {"left": torch.float32})
    with pytest.raises(benchsuite.Unsupported, match=r"takes texts as token ids .* left \(3,\)"):
        SmallTextEncoder().build_named(others, CLASSES)
    with pytest.raises(benchsuite.DataError, match="5 heads do not divide the width, 12"):
        SmallTextEncoder(width=12, heads=5).build_named(inputs_like(), CLASSES)


@needs_transformers
@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("vit", {}, "huggingface/vit classifies images, not texts"),
        ("bert", {"hiden_size": 48}, "has no field 'hiden_size'; did you mean 'hidden_size'"),
        ("bert", {"max_position_embeddings": 3}, "huggingface/bert cannot take texts of 7 tokens of 30"),
    ],
)
def test_what_a_type_of_the_library_cannot_is_said(kind: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(benchsuite.BenchsuiteError, match=message):
        HuggingFaceModel(architecture=kind, config=config).build_named(inputs_like(), CLASSES)


@needs_transformers
def test_a_type_for_texts_takes_no_images() -> None:
    with pytest.raises(benchsuite.Unsupported, match="huggingface/bert classifies texts, not images"):
        HuggingFaceModel(architecture="bert").build((3, 32, 32), CLASSES)


@needs_transformers
@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_every_criterion_scores_bert_or_says_why_not(scorer: type[benchsuite.Scorer]) -> None:
    network, graph = bert()
    inputs, labels = texts(samples=14), torch.arange(14) % CLASSES
    for granularity in ("unit",) if scorer.granularity == "unit" else ("unit", "weight"):
        own = scorer()
        for name, value in {"permutations": 4, "probes": 8, "fewest": 4}.items():
            if hasattr(own, name):
                setattr(own, name, value)
        context = ScoringContext(
            network,
            graph.layers if granularity == "unit" else graph.weight_layers,
            inputs,
            labels,
            groups=graph.groups,
            batch_size=6,
            granularity=granularity,
            trace=tiny_trace(network),
            target=0.5 if own.needs_target else None,
        )
        if own.name in NOT_BERT:
            with pytest.raises(benchsuite.Unsupported):
                run_scorer(own, context)
        else:
            found = run_scorer(own, context).scores
            assert found.keys() == {layer.name for layer in context.layers}


NOT_BERT = {"apoz", "bn-scale", "hrank", "synflow"}
"""They need a ReLU, a batch normalisation, maps, and inputs that can be ones."""


@cache
def bert() -> tuple[nn.Module, PruningGraph]:
    network, graph = traced("bert")
    randomise(network)
    return network, graph
