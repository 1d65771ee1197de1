"""Small contexts to try a scorer on, and the conformance checks that every scorer must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from benchsuite.contracts.inputs import example_of
from benchsuite.contracts.layers import Layer
from benchsuite.errors import Unsupported
from benchsuite.pruning.tracing.trace import trace
from benchsuite.scoring.check import run_scorer
from benchsuite.scoring.context import ScoringContext
from benchsuite.testing.networks import TinyResidual, tiny_convnet, tiny_mlp, tiny_narrow, tiny_samples
from benchsuite.training.trace import TrainingTrace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.layers import CoupledGroup, Granularity
    from benchsuite.scoring.scorer import Scorer

TARGET = 0.5
"""The share to be removed that the checks tell scorers which need it."""
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def simple_layers(model: nn.Module, *, classifier: bool = False) -> list[Layer]:
    """Return the convolution and linear layers of a network in the order of definition.

    A batch normalisation of the same width that is defined right after a layer counts as following it. This
    works for small networks whose modules are defined in the order in which they run; the suite itself traces
    networks.

    Args:
        model: the network.
        classifier: include the last layer, whose units are the classes.
    """
    modules = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    layers = []
    for position, (name, module) in enumerate(modules):
        if not isinstance(module, _LAYERS):
            continue
        norm_name, norm = modules[position + 1] if position + 1 < len(modules) else ("", None)
        if not isinstance(norm, _NORMS) or norm.num_features != module.weight.shape[0]:
            norm_name, norm = "", None
        kind: Literal["conv", "linear"] = "linear" if isinstance(module, nn.Linear) else "conv"
        layers.append(Layer(name, kind, module, norm, norm_name or None))
    return layers if classifier else layers[:-1]


def context_for(
    model: nn.Module,
    inputs: Inputs,
    labels: Tensor,
    *,
    layers: Sequence[Layer] | None = None,
    **settings: Any,
) -> ScoringContext:
    """Return a scoring context for a small network.

    Args:
        model: the network.
        inputs: its inputs, samples first.
        labels: class numbers.
        layers: the layers to score; by default `simple_layers`, with the classifier if weights are pruned.
        **settings: any other argument of `ScoringContext`, such as `target`; unless given, `groups` are
            traced as in a suite.
    """
    if layers is None:
        layers = simple_layers(model, classifier=settings.get("granularity") == "weight")
    if "groups" not in settings:
        settings["groups"] = traced_groups(model, layers, inputs, settings.get("normalise"))
    return ScoringContext(model, layers, inputs, labels, **settings)


def traced_groups(
    model: nn.Module,
    layers: Sequence[Layer],
    inputs: Inputs,
    normalise: Callable[[Any], Any] | None = None,
) -> tuple[CoupledGroup, ...]:
    """Return the coupled groups that these layers form, as the suite finds them.

    None where nothing can be pruned; groups that couple other layers as well are left out.
    """
    place = next(model.parameters()).device
    example = example_of(inputs).to(place)
    known = {layer.name for layer in layers}
    try:
        graph = trace(model, example if normalise is None else normalise(example))
    except Unsupported:
        return ()
    return tuple(group for group in graph.groups if known.issuperset(m.layer for m in group.members))


def tiny_trace(model: nn.Module, seed: int = 2) -> TrainingTrace:
    """Return a made-up training trace that ends at the network's weights."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(scale: float) -> dict[str, Tensor]:
        return {
            name: scale * torch.rand(value.shape, generator=generator, dtype=value.dtype)
            for name, value in model.named_parameters()
        }

    start = {name: value.detach() - drawn(0.2)[name] for name, value in model.named_parameters()}
    squares, rates = (drawn(0.1), drawn(0.2)), torch.tensor([0.1, 0.05], dtype=torch.float64)
    return TrainingTrace(start, *squares, {}, rates, drawn(10.0), drawn(1.0))


_NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions": (tiny_convnet, (2, 8, 8)),
    "residual, grouped and depthwise": (TinyResidual, (2, 8, 8)),
    "linear without biases": (tiny_mlp, (4,)),
    "one unit a layer": (tiny_narrow, (2, 8, 8)),
}


def _granularities(scorer: Scorer) -> tuple[Granularity, ...]:
    return ("unit",) if scorer.granularity == "unit" else ("unit", "weight")


def _context(
    scorer: Scorer, model: nn.Module, inputs: Tensor, labels: Tensor, **settings: Any
) -> ScoringContext:
    """A context in which a scorer that needs a target has one, as in a suite."""
    if scorer.needs_target:
        settings.setdefault("target", TARGET)
    return context_for(model, inputs, labels, **settings)


def _scores(
    scorer: Scorer,
    model: nn.Module,
    shape: tuple[int, ...],
    granularity: Granularity = "unit",
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> dict[str, Tensor]:
    inputs, labels = tiny_samples(20, shape)
    trace = tiny_trace(model)
    settings |= {"granularity": granularity, "batch_size": 8, "trace": trace}
    context = _context(scorer, model, inputs.to(dtype), labels, **settings)
    return run_scorer(scorer, context).scores


def check_networks(scorer: Scorer) -> None:
    """It can score some network, returns valid scores for each that it can score, and changes none."""
    served = []
    for name, (build, shape) in _NETWORKS.items():
        for granularity in _granularities(scorer):
            try:
                _scores(scorer, build(), shape, granularity)
            except Unsupported:
                continue
            served.append(name)
    assert served, f"{scorer.name} serves none of: {', '.join(_NETWORKS)}"


def check_determinism(scorer: Scorer) -> None:
    """The same seed gives the same scores, whatever the global random state."""
    for granularity in _granularities(scorer):
        torch.manual_seed(0)
        first = _scores(scorer, tiny_convnet(), (2, 8, 8), granularity)
        torch.manual_seed(1)
        torch.rand(3)
        again = _scores(scorer, tiny_convnet(), (2, 8, 8), granularity)
        for name, score in first.items():
            assert torch.equal(score, again[name]), f"layer {name}: two runs with one seed differ"


def _is_random(scorer: Scorer) -> bool:
    """Whether the scores depend on the generator."""
    first, other = (_scores(scorer, tiny_convnet(), (2, 8, 8), draw=draw) for draw in (0, 1))
    return any(not torch.equal(first[name], other[name]) for name in first)


def _unit_parts(model: nn.Module) -> list[Tensor]:
    """Return what has one row per unit of the first layer of `tiny_convnet`."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return [part for name, part in named if name.startswith(("0.", "1.")) and part.ndim]


def check_permutation(scorer: Scorer) -> str | None:
    """Permuting a layer's units permutes their scores and no others; scorers that sample are not checked."""
    if _is_random(scorer):
        return "its scores are random"
    model = tiny_convnet()
    before = _scores(scorer, model, (2, 8, 8))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    trace = tiny_trace(model)
    with torch.no_grad():
        for part in _unit_parts(model):
            part.copy_(part[order])
        following = model.get_parameter("4.weight")
        following.copy_(following[:, order])
    squares, of_epochs = (
        (trace.squared_updates, trace.squared_epoch_updates),
        (trace.epoch_ratios, trace.epoch_products),
    )
    for values in (trace.initial, *squares, *of_epochs):
        for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
            values[name] = values[name][order]
        values["4.weight"] = values["4.weight"][:, order]
    context = _context(scorer, model, *tiny_samples(20), batch_size=8, trace=trace)
    after = run_scorer(scorer, context).scores
    for name, score in before.items():
        expected = score[order] if name == "0" else score
        scale = float(score.abs().max()) or 1.0
        worst = float((after[name] - expected).abs().max())
        assert worst <= 1e-4 * scale, (
            f"layer {name}: scores moved by {worst} when units of layer 0 were permuted"
        )
    return None


def check_dead_unit(scorer: Scorer) -> str | None:
    """A unit that is always zero is not in its layer's upper half, unless there are scores of both signs.

    Criteria that use no data are not checked.
    """
    if scorer.data_free:
        return "it is data_free"
    if scorer.needs_training_trace:
        return "it needs a training trace"
    model = tiny_convnet()
    with torch.no_grad():
        for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
            model.get_parameter(name)[2] = 0
        model.get_parameter("4.weight")[1] = 0
    # The network predicts every label correctly, so that criteria that use its accuracy see what helps it,
    # and it does not prefer one class.
    inputs, _ = tiny_samples(20)
    with torch.no_grad():
        bias = model.get_parameter("9.bias")
        bias.sub_(model(inputs).mean(0))
        labels = model(inputs).argmax(1)
    context = _context(scorer, model, inputs, labels, batch_size=8, classes=3)
    scores = run_scorer(scorer, context).scores
    for name, unit in (("0", 2), ("4", 1)):
        if name in scores:
            score = scores[name]
            dead, middle = float(score[unit]), float(score.median())
            neutral = abs(dead) <= 1e-5 * float(score.abs().max()) and float(score.min()) < 0 < float(
                score.max()
            )
            assert neutral or dead <= middle, (
                f"layer {name}: the unit that is always zero scores {dead}, the median is {middle}"
            )
    return None


def check_twins(scorer: Scorer) -> None:
    """Two units that are copies of each other cause no error."""
    model = tiny_convnet()
    with torch.no_grad():
        for part in _unit_parts(model):
            part[4] = part[1]
        following = model.get_parameter("4.weight")
        following[3] = following[0]
    for granularity in _granularities(scorer):
        _scores(scorer, model, (2, 8, 8), granularity)


def check_double(scorer: Scorer) -> None:
    """Networks in double precision can be scored."""
    for granularity in _granularities(scorer):
        _scores(scorer, tiny_convnet().double(), (2, 8, 8), granularity, torch.float64)


def check_gpu(scorer: Scorer) -> str | None:
    """On a GPU the scores equal those of the CPU, to 1% of the largest; not checked if there is no GPU."""
    if not torch.cuda.is_available():
        return "there is no GPU here"
    for granularity in _granularities(scorer):
        here = _scores(scorer, tiny_convnet(), (2, 8, 8), granularity)
        there = _scores(scorer, tiny_convnet(), (2, 8, 8), granularity, device="cuda")
        for name, score in here.items():
            worst, scale = float((there[name] - score).abs().max()), float(score.abs().max())
            assert worst <= 0.01 * scale, f"layer {name}: scores on the GPU differ by {worst}"
    return None


CHECKS: dict[str, Callable[[Scorer], str | None]] = {
    "networks": check_networks,
    "determinism": check_determinism,
    "permutation": check_permutation,
    "dead unit": check_dead_unit,
    "twins": check_twins,
    "double precision": check_double,
    "gpu": check_gpu,
}
"""What every scorer must pass: each raises an error that says what is wrong.

One that cannot be made for this scorer, or here, returns why.
"""
