"""A run for each dense model: its training, accuracy and cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.store import metric_names
from benchsuite.store.keys import content_key
from benchsuite.store.stages import StageDamaged, read_facts
from benchsuite.tracking import mlflow_fields
from benchsuite.tracking.connection import log_dataset, log_points, search
from benchsuite.tracking.curves import Point, dense_curves
from benchsuite.trials.agreement import FOLDER as AGREEMENT
from benchsuite.trials.agreement import PAIRS
from benchsuite.trials.facts import DenseFacts
from benchsuite.trials.ranking import FOLDER as RANKING
from benchsuite.trials.ranking import ranking_folder
from benchsuite.upkeep.own_files import digest_of, files_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from benchsuite.store.record import TrialRecord

_LOGGED = (".json", ".csv", ".log", ".png")


@dataclass(frozen=True)
class DenseRun:
    """A dense model as it is logged to MLflow, from the training's stage and a trial's record."""

    name: str
    params: dict[str, str]
    tags: dict[str, str]
    points: tuple[Point, ...]
    started: float
    ended: float
    files: tuple[Path, ...]


def describe(folder: Path, record: TrialRecord) -> DenseRun | None:
    """The dense model of a trial; None if its training is not complete, or its stage is missing or a link.

    Args:
        folder: the training's stage.
        record: any trial that prunes the model.
    """
    if folder.is_symlink():
        return None
    try:
        facts = read_facts(folder, DenseFacts)
        ended = (folder / "stage.json").stat().st_mtime
    except (OSError, StageDamaged):
        return None
    if facts is None:
        return None
    seconds, metrics = facts.train_seconds, _metrics(facts)
    axes, provenance = record.axes, record.provenance
    named: dict[str, Any] = {axis: axes[axis] for axis in ("dataset", "model", "seed") if axis in axes}
    recipe = provenance.get("training_recipe")
    curves = dense_curves(folder, ended, seconds)
    values = [Point(name, 0, value, round(1000 * ended)) for name, value in metrics.items()]
    what = [str(named[axis]) for axis in ("model", "dataset") if axis in named]
    return DenseRun(
        name=" · ".join(["dense", *what, f"seed {axes.get('seed')}"]),
        params=mlflow_fields.params({**named, "scorer": "dense", "sparsity": 0.0, "training_recipe": recipe}),
        tags=_tags(record, facts.device),
        points=(*values, *curves),
        started=ended - seconds,
        ended=ended,
        files=tuple(f for f in files_in(folder) if f.suffix in _LOGGED and not f.name.startswith(".")),
    )


def _metrics(facts: DenseFacts) -> dict[str, float]:
    cost = facts.cost
    found: dict[str, float | None] = {
        metric_names.TOP1: facts.top1,
        metric_names.LOSS: facts.loss,
        metric_names.TRAIN_SECONDS: facts.train_seconds,
        # So that a chart of accuracy by sparsity starts with the dense model.
        **{metric_names.sparsity(budget): 0.0 for budget in ("units", "params", "macs")},
        metric_names.PARAMS: cost.params,
        metric_names.PARAMS_NONZERO: cost.nonzero_params,
        metric_names.MACS: cost.macs,
        metric_names.MACS_NONZERO: cost.nonzero_macs,
        metric_names.ACTIVATION_PEAK_BYTES: cost.peak_activation_bytes,
        metric_names.FLOPS: 2 * cost.macs,
    }
    for label, recall in facts.recall.items():
        found[mlflow_fields.allowed_name(metric_names.class_recall(label))] = recall
    return {name: float(value) for name, value in found.items() if value is not None}


def _tags(record: TrialRecord, device: str) -> dict[str, str]:
    trial = mlflow_fields.tags(record)
    kept = {n: v for n, v in trial.items() if n.startswith(("provenance.", "mlflow.source"))}
    return mlflow_fields.within_limits(
        {
            **{name: value for name, value in kept.items() if not name.endswith("_recipe")},
            "provenance.device": device,
            mlflow_fields.KEY_TAG: record.stages["train"],
            mlflow_fields.DENSE_TAG: record.stages["train"],
            mlflow_fields.KIND_TAG: "dense",
            mlflow_fields.NOTE_TAG: "The dense model of all trials with the tag "
            f"`{mlflow_fields.DENSE_TAG}` = `{record.stages['train']}`.",
            "status": "done",
        }
    )


class DenseRuns:
    """The runs of the dense models in one experiment, each created once.

    A run whose writing was interrupted is completed later: every value is logged with the time at which it
    was computed, so that MLflow does not store it twice.
    """

    def __init__(self) -> None:
        self._complete: dict[str, str | None] = {}
        """By key, the runs that need no more; None of those given up."""
        self._cut_off: dict[str, str] = {}
        self._asked: set[str] = set()
        self.without_recipe: dict[str, TrialRecord] = {}
        """By key, trials of dense models whose recipe no trial has given yet."""

    def remember(self, run: Run) -> None:
        """Note a run that is already in the store."""
        key = run.data.tags[mlflow_fields.KEY_TAG]
        self._asked.add(key)
        if run.info.status == "RUNNING":
            self._cut_off[key] = run.info.run_id
        else:
            self._complete[key] = run.info.run_id

    def put(
        self,
        client: MlflowClient,
        experiment: str,
        record: TrialRecord,
        folder: Path,
        tags: Callable[[], dict[str, str]],
        *,
        last: bool = False,
    ) -> None:
        """Create the run of the dense model that a trial prunes, unless it exists.

        Args:
            client: the store.
            experiment: where runs go.
            record: the trial.
            folder: the training's stage.
            tags: returns the tags that link a run to its invocation and its user.
            last: whether no other trial of the model will follow. Only trials that are done know the recipe,
                so the run is created when there is one, or at the last trial.
        """
        key = record.stages["train"]
        if key in self._complete:
            return
        if not last and "training_recipe" not in record.provenance:
            self.without_recipe.setdefault(key, record)
            return
        if key not in self._asked:
            for run in search(client, experiment, mlflow_fields.KEY_TAG, key):
                self.remember(run)
            self._asked.add(key)
            if key in self._complete:
                return
        model = describe(folder, record)
        if model is None:
            return
        run_id = self._cut_off.pop(key, None) or self._create(client, experiment, model, tags())
        self._cut_off[key] = run_id
        log_points(client, run_id, model.points, model.params)
        log_dataset(client, run_id, record)
        for file in model.files:
            if file.stat().st_size:
                client.log_artifact(run_id, str(file))
        client.set_terminated(run_id, status="FINISHED", end_time=round(1000 * model.ended))
        del self._cut_off[key]
        self._complete[key] = run_id

    def put_rankings(self, client: MlflowClient, run: Path) -> None:
        """Add what the run directory has of the criteria's rankings of the models' units, where it is new.

        They are made when all trials are, after the models' runs.
        """
        for key, run_id in self._complete.items():
            files = [] if run_id is None else _ranking_files(run, key)
            if run_id is None or not files:
                continue
            content = content_key([[file.name, digest_of(file)] for file in files])
            if client.get_run(run_id).data.tags.get(mlflow_fields.RANKING_TAG) == content:
                continue
            for file in files:
                client.log_artifact(run_id, str(file), "ranking")
            client.set_tag(run_id, mlflow_fields.RANKING_TAG, content)

    def give_up(self, key: str) -> None:
        """Do not try this one again, because MLflow refuses some part of it."""
        self._complete[key] = None

    def _create(self, client: MlflowClient, experiment: str, model: DenseRun, tags: dict[str, str]) -> str:
        run = client.create_run(
            experiment,
            start_time=round(1000 * model.started),
            tags={**model.tags, **tags},
            run_name=model.name,
        )
        return str(run.info.run_id)


def _ranking_files(run: Path, key: str) -> list[Path]:
    """The tables and pictures of a model's units that people open; not the data of the site."""
    found = [] if (run / RANKING).is_symlink() else files_in(ranking_folder(run, key))
    pairs = [] if (run / AGREEMENT).is_symlink() else files_in(run / AGREEMENT)
    shown = [file for file in found if file.suffix in (".csv", ".svg") and not file.name.startswith(".")]
    return [*shown, *(file for file in pairs if file.name == f"{key}{PAIRS}")]
