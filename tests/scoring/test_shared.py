"""Sharing between the scorers of one network: the number of passes together, and what is not shared."""

from __future__ import annotations

import multiprocessing
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest
import torch
from torch import nn

from benchsuite.errors import Unsupported
from benchsuite.scoring.check import run_scorer
from benchsuite.scoring.gradients import GradientStatistic
from benchsuite.scoring.reductions import Reduction, find_reduction
from benchsuite.scoring.tables import TableStore
from benchsuite.testing import context_for, simple_layers, tiny_convnet, tiny_samples
from benchsuite_scorers.registration import Fisher, Grasp, Snip, TaylorActivation, TaylorWeight
from benchsuite_scorers.taylor_weight import SquaredChange

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from benchsuite import Scorer
    from benchsuite.scoring.context import ScoringContext
    from benchsuite.scoring.gradients import GradientBatch

BATCHES = 4
GROUPS = context_for(tiny_convnet(), *tiny_samples(4)).groups
"""Traced once, so that the passes that tracing takes are not counted."""
STATISTICS = ("mean-gradient", "squared-gate", "activation-change")


class Passes:
    """Counts forward passes, except the probe with two samples, and backward passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.forward = self.backward = 0
        backward = torch.autograd.grad

        def counted(*arguments: object, **settings: object) -> object:
            self.backward += 1
            return backward(*arguments, **settings)

        monkeypatch.setattr(torch.autograd, "grad", counted)

    def count(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.forward += len(inputs[0]) > 2


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(monkeypatch)


def context_of(folder: Path, suite: tuple[Scorer, ...], **settings: object) -> ScoringContext:
    """The context of one scorer of a suite: its own network, and the folder that all share."""
    model = tiny_convnet()
    announced = [statistic for scorer in suite for statistic in scorer.gradient_statistics()]
    settings = {"batch_size": 5, "statistics": announced, "store": TableStore(folder), **settings}
    return context_for(model, *tiny_samples(20), **{"groups": GROUPS, **settings})


def run_suite(folder: Path, suite: tuple[Scorer, ...], passes: Passes) -> list[dict[str, Tensor]]:
    found = []
    for scorer in suite:
        context = context_of(folder, suite)
        handle = context.model.register_forward_pre_hook(passes.count)
        found.append(run_scorer(scorer, context).scores)
        handle.remove()
    return found


@pytest.mark.parametrize("first", [Fisher, TaylorWeight, TaylorActivation, Snip])
def test_a_second_gradient_scorer_adds_no_pass(first: type[Scorer], tmp_path: Path, passes: Passes) -> None:
    run_suite(tmp_path / "alone", (first(),), passes)
    assert (passes.forward, passes.backward) == (BATCHES, BATCHES)
    rest = tuple(scorer() for scorer in (Fisher, TaylorWeight, TaylorActivation, Snip) if scorer is not first)
    run_suite(tmp_path / "together", (first(), *rest), passes)
    assert (passes.forward, passes.backward) == (2 * BATCHES, 2 * BATCHES)


def test_grasp_adds_its_products_alone(tmp_path: Path, passes: Passes) -> None:
    run_suite(tmp_path, (Snip(), Grasp(temperature=1)), passes)
    assert (passes.forward, passes.backward) == (2 * BATCHES, 3 * BATCHES)


def test_a_statistic_is_shared_only_where_it_is_the_same(tmp_path: Path, passes: Passes) -> None:
    """A divided loss and a batch's own statistics give other gradients, which nobody else gets."""
    alone = run_suite(tmp_path / "alone", (Snip(),), passes)[0]
    before = passes.backward
    warm, own, plain = (Snip(temperature=3), Snip(batch_norm="train"), Snip())
    found = run_suite(tmp_path / "all", (warm, own, plain), passes)
    assert passes.backward - before == 3 * BATCHES
    assert not warm.gradient_statistics()
    assert not own.gradient_statistics()
    for name, score in alone.items():
        assert torch.equal(found[2][name], score)
        assert not torch.allclose(found[0][name], score, rtol=1e-3)
        assert not torch.allclose(found[1][name], score, rtol=1e-3)


def test_the_company_of_others_changes_no_score(tmp_path: Path, passes: Passes) -> None:
    suite = (TaylorActivation(), Snip(), TaylorWeight(), Fisher(), Grasp())
    together = run_suite(tmp_path / "together", suite, passes)
    for number, (scorer, found) in enumerate(zip(suite, together, strict=True)):
        (alone,) = run_suite(tmp_path / str(number), (scorer,), passes)
        for name, score in alone.items():
            assert torch.equal(found[name], score)


def _fill(folder: Path) -> None:
    torch.set_num_threads(1)
    context_of(folder, (Fisher(), TaylorActivation())).gradient_statistic("squared-gate")


def test_processes_share_statistics_through_a_folder(tmp_path: Path, passes: Passes) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_fill, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    shared = context_of(tmp_path, ())
    found = {name: shared.gradient_statistic(name) for name in ("squared-gate", "activation-change")}
    assert passes.backward == 0
    for name, values in found.items():
        own = context_of(tmp_path / "own", ()).gradient_statistic(name)
        assert list(values) == list(own)
        for layer, value in own.items():
            torch.testing.assert_close(values[layer], value, rtol=1e-5, atol=1e-8)
    assert passes.backward == 2 * BATCHES
    suffixes = sorted(path.suffix for path in tmp_path.iterdir())
    assert suffixes == ["", "", ".safetensors", ".safetensors", ".sha256", ".sha256"]


def test_those_who_come_at_once_wait_for_one_backward_pass(tmp_path: Path, passes: Passes) -> None:
    contexts = [context_of(tmp_path, ()) for _ in range(3)]
    threads = [threading.Thread(target=each.gradient_statistic, args=("mean-gradient",)) for each in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passes.backward == BATCHES


def test_another_setting_shares_no_statistic(tmp_path: Path, passes: Passes) -> None:
    base = context_of(tmp_path, ())
    base.gradient_statistic("squared-gate")
    trained = tiny_convnet()
    with torch.no_grad():
        trained[0].weight[0, 0, 0, 0] += 1
    bare = [layer for layer in simple_layers(tiny_convnet()) if layer.norm is None]
    others = [
        context_of(tmp_path, (), seed=1, samples=15),
        context_of(tmp_path, (), batch_size=4),
        context_of(tmp_path, (), granularity="weight", layers=base.layers),
        context_of(tmp_path, (), layers=bare, groups=[group for group in GROUPS if group.name != "0"]),
        context_of(tmp_path, (), groups=GROUPS[:2]),
        context_for(trained, *tiny_samples(20), batch_size=5, store=TableStore(tmp_path), groups=GROUPS),
    ]
    for number, other in enumerate(others):
        before = passes.backward
        other.gradient_statistic("squared-gate")
        assert passes.backward > before, f"setting {number} took the first one's statistic"


def test_the_normalisation_that_follows_is_part_of_the_setting(tmp_path: Path, passes: Passes) -> None:
    model = tiny_convnet()
    with_norm = simple_layers(model)
    without = [type(layer)(layer.name, layer.kind, layer.module) for layer in with_norm]
    found = [
        context_for(
            model, *tiny_samples(), layers=layers, store=TableStore(tmp_path), groups=GROUPS
        ).gradient_statistic(SquaredChange())["0"]
        for layers in (with_norm, without)
    ]
    assert passes.backward == 2
    assert not torch.equal(*found)


@pytest.mark.parametrize("folder", [True, False])
def test_what_a_scorer_does_to_its_statistic_harms_nobody(folder: bool, tmp_path: Path) -> None:
    context = context_of(tmp_path, (), store=TableStore(tmp_path if folder else None))
    first = context.gradient_statistic("squared-gate")
    kept = {name: value.clone() for name, value in first.items()}
    for value in first.values():
        value.zero_()
    for name, value in context.gradient_statistic("squared-gate").items():
        assert torch.equal(value, kept[name])


@dataclass(frozen=True)
class Refusing(GradientStatistic):
    name: ClassVar[str] = "refusing"

    def __call__(self, batch: GradientBatch) -> dict[str, Tensor]:
        raise Unsupported("not this network")


def test_an_announced_statistic_that_fails_harms_its_own_scorer_alone(passes: Passes) -> None:
    context = context_for(
        tiny_convnet(),
        *tiny_samples(20),
        batch_size=5,
        statistics=(Refusing(), "squared-gate"),
        groups=GROUPS,
    )
    found = context.gradient_statistic("mean-gradient")
    plain = context_for(tiny_convnet(), *tiny_samples(20), batch_size=5).gradient_statistic("mean-gradient")
    assert all(torch.equal(found[name], plain[name]) for name in plain)
    with pytest.raises(Unsupported, match="not this network"):
        context.gradient_statistic(Refusing())


@pytest.mark.parametrize("kind", ["reduction", "statistic"])
def test_a_constant_beside_a_class_is_part_of_its_key(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {"reduction": "Reduction", "statistic": "GradientStatistic"}[kind]
    home = {"reduction": "reductions", "statistic": "gradients"}[kind]
    keys = []
    for constant in (1, 2, 1):
        folder = tmp_path / str(len(keys))
        folder.mkdir()
        (folder / f"scaled_{kind}.py").write_text(
            f"from benchsuite.scoring.{home} import {base}\nSCALE = {constant}\n"
            f"class Scaled({base}):\n    def __call__(self, values):\n        return values * SCALE\n"
        )
        keys.append(_key_in_a_fresh_process(folder, f"scaled_{kind}"))
    assert keys[0] == keys[2] != keys[1]


def _key_in_a_fresh_process(folder: Path, module: str) -> str:
    import subprocess
    import sys

    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import {module}; print({module}.Scaled().key)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_shipped_gradient_scorers_announce_what_they_read(passes: Passes) -> None:
    for scorer in (Fisher(), TaylorWeight(), TaylorActivation(), Snip()):
        names = scorer.gradient_statistics()
        context = context_for(tiny_convnet(), *tiny_samples(), statistics=names)
        context.gradient_statistic(names[0])
        before = passes.backward
        run_scorer(scorer, context)
        assert passes.backward == before
    assert tuple(Grasp(temperature=1).gradient_statistics()) == ("mean-gradient",)
    assert tuple(Grasp().gradient_statistics()) == ()


def test_host_reductions_have_keys_of_their_own() -> None:
    keys = {find_reduction(name).key for name in ("mean", "max", "top-5-mean", "top-6-mean")}
    assert len(keys) == 4
    assert issubclass(type(find_reduction("mean")), Reduction)
