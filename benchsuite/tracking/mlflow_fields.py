"""The fields of a trial record in MLflow, as plain data within MLflow's limits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchsuite.store import metric_names
from benchsuite.store.record import SETTLED

if TYPE_CHECKING:
    from benchsuite.store.record import TrialRecord

KEY_TAG = "benchsuite.key"
DIGEST_TAG = "benchsuite.digest"
KIND_TAG = "benchsuite.kind"
ORIGIN_TAG = "benchsuite.run_directory"
SHOWN_TAG = "benchsuite.shown"
RANKING_TAG = "benchsuite.ranking"
CHOICE_TAG = "benchsuite.choice"
"""On a logged model: how its network was chosen."""
DENSE_TAG = "benchsuite.dense"
"""On a dense model's run and on all trials that prune it: the content key of its training."""
NOTE_TAG = "mlflow.note.content"

SOURCE_TAGS = {"mlflow.source.name": "benchsuite", "mlflow.source.type": "LOCAL"}

_LONGEST_NAME = 250
_LONGEST_PARAM = 6000
_LONGEST_TAG = 8000
_LONGEST_DIGEST = 12  # enough to distinguish versions, with space for the name


def run_name(axes: Mapping[str, Any]) -> str:
    """A name by which a person can distinguish runs: scorer, model, data set, sparsity, seed."""
    parts = [str(axes[axis]) for axis in ("scorer", "model", "dataset", "sparsity") if axis in axes]
    if "seed" in axes:
        parts.append(f"seed {axes['seed']}")
    if axes.get("draw"):
        parts.append(f"draw {axes['draw']}")
    return " · ".join(parts)


def params(axes: Mapping[str, Any]) -> dict[str, str]:
    """The axes that are set; entries of a nested table are named `table.entry`."""
    flat: dict[str, str] = {}
    for axis, value in axes.items():
        if isinstance(value, Mapping):
            flat.update({f"{axis}.{name}": inner for name, inner in params(value).items()})
        elif value is not None:
            flat[allowed_name(axis)] = _cut(str(value), _LONGEST_PARAM)
    return flat


def metrics(record: TrialRecord) -> dict[str, float]:
    """The metrics under names that MLflow accepts."""
    return {allowed_name(name): value for name, value in record.metrics.items()}


def round_metrics(record: TrialRecord) -> list[dict[str, float]]:
    """The metrics after each round under names that MLflow accepts."""
    return [
        {allowed_name(f"{metric_names.ROUNDS}{name}"): value for name, value in each.items()}
        for each in record.rounds
    ]


def tags(record: TrialRecord) -> dict[str, str]:
    """Identity, outcome and provenance."""
    found = {
        KEY_TAG: record.key,
        KIND_TAG: "trial",
        DIGEST_TAG: digest(record),
        "status": record.status,
        **{f"provenance.{allowed_name(name)}": str(value) for name, value in record.provenance.items()},
        **SOURCE_TAGS,
    }
    if record.error:
        found |= {"error": record.error, NOTE_TAG: _note(record.status, record.error)}
    elif warnings := _warnings(record):
        found[NOTE_TAG] = "\n\n".join(warnings)
    if "train" in record.stages:
        found[DENSE_TAG] = record.stages["train"]
    if "commit" in record.provenance:
        found["mlflow.source.git.commit"] = str(record.provenance["commit"])
    return within_limits(found)


def _warnings(record: TrialRecord) -> list[str]:
    """Sentences on numbers that are less certain than they look, in Markdown."""
    found = []
    if record.metrics.get(metric_names.UNCOUNTED_MODULES):
        names = record.provenance.get("uncounted_modules")
        shown = ", ".join(map(str, names)) if isinstance(names, list) else "not named"
        what = _cut(shown.replace("`", "'"), _LONGEST_TAG // 2)
        found.append(f"MACs are a lower bound: what may multiply and has no formula is `{what}`")
    wide = [name for name in record.metrics if metric_names.is_wide(record.metrics, name)]
    if wide:
        names = ", ".join(f"`{name}`" for name in sorted(wide))
        found.append(f"Not settled, as the 95% interval is wider than 3%: {names}")
    return found


def within_limits(labels: Mapping[str, str]) -> dict[str, str]:
    """Tags, cut to the length that MLflow accepts."""
    return {name: _cut(value, _LONGEST_TAG) for name, value in labels.items()}


def _note(status: str, error: str) -> str:
    """Markdown that shows the error unchanged: MLflow's page would render HTML and Markdown in it."""
    text = _cut(error.replace("```", "'''"), _LONGEST_TAG - 100)
    return f"**{status}**\n\n```text\n{text}\n```"


def run_status(record: TrialRecord) -> str:
    """MLflow's word for the outcome.

    A trial that is unsupported or collapsed has its outcome, and nothing failed: its tag `status` says it.
    """
    if record.status in SETTLED:
        return "FINISHED"
    return "KILLED" if record.status == "killed" else "FAILED"


def digest(record: TrialRecord) -> str:
    """A digest of the whole record."""
    return hashlib.sha256(record.to_json().encode()).hexdigest()[:16]


def dataset_digest(record: TrialRecord) -> str:
    """A digest that identifies the version of the trial's data."""
    known = (
        record.provenance.get("data_digest") or record.stages.get("data") or record.axes.get("dataset", "")
    )
    return str(known)[:_LONGEST_DIGEST]


def allowed_name(name: str) -> str:
    """`name` with everything replaced that MLflow refuses: some characters, and slashes that form no path."""
    parts = re.sub(r"[^\w.\- :/]", "_", name)[:_LONGEST_NAME].split("/")
    return "/".join("_" if part in ("", ".", "..") else part for part in parts)


def invocation_note(description: str, command: str, summary: str) -> str:
    """The text on the page of an invocation's run, in Markdown."""
    parts = [description, f"`benchsuite {command}`" if command else "", summary]
    return _cut("\n\n".join(part for part in parts if part), _LONGEST_TAG)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
