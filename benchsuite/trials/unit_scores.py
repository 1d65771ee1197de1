"""The scores of units that criteria gave the trained networks of a run, read from their stages."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.store.stages import Stage, StageDamaged, content_digest
from benchsuite.trials.facts import SCORES, ScoreFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.plan.trial import Trial
    from benchsuite.store.run_directory import RunDirectory

    Scores = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class UnitScores:
    """A criterion's scores of the units of one layer that can be removed.

    Attributes:
        values: one score each.
        units: their numbers in the layer; None where all units can be removed.
    """

    values: Scores
    units: tuple[int, ...] | None


def scorings(trials: Iterable[Trial]) -> dict[str, tuple[DenseTask, dict[str, str]]]:
    """By dense network, the scoring stage of each criterion: of units, after training, the first draw."""
    found: dict[str, tuple[DenseTask, dict[str, str]]] = {}
    for trial in trials:
        score = trial.score
        # Targets of some layers have scores of these alone.
        if score.granularity == "unit" and score.draw == 0 and not (score.at_init or trial.targets):
            _, keys = found.setdefault(score.dense.key, (score.dense, {}))
            keys.setdefault(score.scorer.label, score.key)
    return found


def complete_scorings(run: RunDirectory, keys: Mapping[str, str]) -> dict[str, str]:
    """Of each criterion's scoring stage, those that are there, with what identifies their scores."""
    found = {label: content_digest(run.stage(key)) for label, key in keys.items()}
    return {label: content for label, content in found.items() if content is not None}


def read_all(
    run: RunDirectory,
    dense: DenseTask,
    keys: Mapping[str, str],
    purpose: str,
    tell: Callable[[str], None],
) -> dict[str, dict[str, UnitScores]]:
    """By criterion and layer, the scores in stages of one dense network; what cannot be used is told of.

    Args:
        run: the run directory.
        dense: the network.
        keys: by criterion, its scoring's stage, which is complete.
        purpose: what the scores are read for, in words.
        tell: told in a sentence which criterion is left out, and why.
    """
    content = content_digest(run.stage(dense.key)) or ""
    scores = {}
    for label, key in keys.items():
        try:
            scores[label] = read_unit_scores(run.stage(key), content)
        except StageDamaged as damage:
            tell(f"{damage}; {label} is left out of the {purpose}")
    for label in _odd_ones(scores):
        tell(f"the scores of {label} are not of the shapes of the others'; it is left out likewise")
        del scores[label]
    return scores


def read_unit_scores(folder: Path, dense: str) -> dict[str, UnitScores]:
    """The scores in a stage, by layer.

    Args:
        folder: the scoring's stage.
        dense: content of the dense network that they must be of.

    Raises:
        StageDamaged: its files are not as they were left, or are of another dense network.
    """
    from safetensors.numpy import load_file

    facts = Stage(folder, ScoreFacts, [SCORES], made_from=dense).read()
    removable = {} if facts is None else facts.removable
    tensors = load_file(folder / SCORES)
    scores = {name.removeprefix("score/"): t for name, t in tensors.items() if name.startswith("score/")}
    try:
        return {
            name: UnitScores(t[list(removable[name])] if name in removable else t, removable.get(name))
            for name, t in scores.items()
        }
    except IndexError as error:
        raise StageDamaged(f"{folder / SCORES} has fewer scores than units ({error})") from error


def _odd_ones(scores: Mapping[str, Mapping[str, UnitScores]]) -> list[str]:
    """Criteria with a layer of another shape than most have for it, which only a forged stage has."""
    shapes: dict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
    for by_layer in scores.values():
        for name, each in by_layer.items():
            shapes[name][each.values.shape] += 1
    usual = {name: counts.most_common(1)[0][0] for name, counts in shapes.items()}
    return [
        label
        for label, by_layer in scores.items()
        if any(each.values.shape != usual[name] for name, each in by_layer.items())
    ]
