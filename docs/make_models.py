"""Survey classifiers and write the page about them: which can be pruned, how exactly, and why others cannot.

`python docs/make_models.py build/models.jsonl docs/models.md` surveys what the first file has no line for,
adds a line for each as it is done, and writes the page from all lines. A run that is broken off is taken up
by the next.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import resource
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from multiprocessing.connection import Connection

SIZES = (64, 96, 128, 192, 224, 240, 256, 384)
"""Heights of square images; the first that an architecture takes is used."""
CLASSES = 10
PRELOADED = ["benchsuite.pruning.survey", "benchsuite.registry.discovery", "timm", "torchvision"]
"""What the processes that survey one architecture share, so that none has to import it."""
REASON_WIDTH = 180

HUGGING_FACE = "huggingface"
TIMM = Path(__file__).with_name("timm_models.txt").read_text().split()
"""The smallest variant of each family, without those made for tests."""


@dataclass(frozen=True)
class Row:
    """One architecture's line.

    Attributes:
        model: its name in suite files.
        status: "ok", "unsupported", "wrong", or "unfinished" where the process ended without an answer.
        reason: why it is not ok, or what stays.
        image: height of the square images it was given; 0 where it took none of those tried.
        parameters: how many parameters it has.
        prunable_units: share of the units of all layers but the output that can go.
        macs_removed: share of the MACs that was removed.
        relative_difference: largest difference of the pruned from the masked network, by the largest output.
        trace_seconds: processor time of finding the coupled groups.
        versions: of the libraries that took part.
    """

    model: str
    status: str
    reason: str = ""
    image: int = 0
    parameters: int = 0
    prunable_units: float | None = None
    macs_removed: float | None = None
    relative_difference: float | None = None
    trace_seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)


def versions(model: str) -> dict[str, str]:
    """Versions of the installed libraries that decide a model's line."""
    own = ("transformers",) if model.startswith(f"{HUGGING_FACE}/") else ("torchvision", "timm")
    return {name: importlib.metadata.version(name) for name in ("torch", *own)}


def all_models() -> list[str]:
    """Every classifier of torchvision, the small ones first, between architectures of the others."""
    from torchvision.models import get_model_weights

    from benchsuite_models.huggingface import IMAGES, listed
    from benchsuite_models.torchvision import TorchvisionModel

    def parameters(name: str) -> int:
        return int(next(iter(get_model_weights(name))).meta["num_params"])

    own = sorted(TorchvisionModel.architectures(), key=parameters)
    families = {"torchvision": own, "timm": TIMM, HUGGING_FACE: list(listed(IMAGES))}
    names = [[f"{family}/{name}" for name in of_family] for family, of_family in families.items()]
    return [name for name in chain.from_iterable(zip_longest(*names)) if name]


def survey_model(model: str, trace_limit: float) -> Row:
    """Build an architecture with random weights for small images, prune it, and compare."""
    import torch

    from benchsuite.errors import Unsupported
    from benchsuite.pruning.survey import survey
    from benchsuite.registry.discovery import discover
    from benchsuite.trials.usable_model import place_of_class_scores, return_class_scores, usable

    plugin = discover()[0].create("model", model, {})
    reason = ""
    for size in SIZES:
        torch.manual_seed(0)
        try:
            network = plugin.build((3, size, size), CLASSES)
        except Unsupported as error:
            reason = str(error)
            continue
        example = torch.randn(1, 3, size, size)
        network = usable(network.eval(), example.shape[1:], lambda _: None)
        return_class_scores(network, place_of_class_scores(network, torch.cat((example, example)), CLASSES))
        line = asdict(survey(lambda: network, example, trace_limit=trace_limit))  # noqa: B023 - called at once
        kept = {name: value for name, value in line.items() if name in Row.__dataclass_fields__}
        count = sum(parameter.numel() for parameter in network.parameters())
        return Row(model, image=size, parameters=count, versions=versions(model), **kept)
    return Row(model, "unsupported", reason, versions=versions(model))


def _child(model: str, trace_limit: float, memory: float, pipe: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory * 1e9), int(memory * 1e9)))
    try:
        row = survey_model(model, trace_limit)
    except Exception as error:  # noqa: BLE001 - whatever it is stands in the table
        row = Row(model, "unfinished", f"{type(error).__name__}: {error}", versions=versions(model))
    pipe.send(row)


def survey_apart(model: str, limit: float, memory: float) -> Row:
    """Survey an architecture in a process of its own.

    Args:
        model: its name.
        limit: seconds for finding its coupled groups; everything together may take three times as long.
        memory: 10^9 bytes that the process may have.
    """
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(model, limit, memory, sender))
    process.start()
    sender.close()
    row = Row(model, "unfinished", f"stopped after {3 * limit:g} s", versions=versions(model))
    try:
        if receiver.poll(3 * limit):
            row = receiver.recv()
    except EOFError:
        row = Row(model, "unfinished", "its process was killed", versions=versions(model))
    if process.is_alive():
        process.kill()
    process.join()
    return row


def read(path: Path) -> dict[str, Row]:
    """The lines of a file of results that were made with the installed libraries, by model."""
    text = path.read_text() if path.exists() else ""
    rows = [Row(**json.loads(line)) for line in text.splitlines()]
    return {row.model: row for row in rows if row.versions == versions(row.model)}


def page(rows: Iterable[Row], wanted: Sequence[str]) -> str:
    """The page in Markdown."""
    by_model = {row.model: row for row in rows}
    found = [by_model.get(name, Row(name, "unfinished")) for name in sorted(wanted)]
    done = [row for row in found if row.status != "unfinished"]
    parts = [_introduction(done, len(wanted))]
    if missing := [f"`{row.model}`{_why(row)}" for row in found if row.status == "unfinished"]:
        text = f"Not surveyed, so nothing is known about them here: {', '.join(missing)}."
        parts.append(textwrap.fill(text, 110, break_on_hyphens=False) + "\n")
    for library in ("torchvision", "timm", HUGGING_FACE):
        lines = [_line(row) for row in done if row.model.startswith(f"{library}/")]
        parts.append(f"## {library}\n\n{_HEAD}" + "".join(lines))
    return "\n".join(parts)


_INTRODUCTION = """\
# Supported models

Made by `make models-table`; do not edit. {surveyed} of {wanted} architectures were surveyed, with
torch {torch}, torchvision {torchvision}, timm {timm} and transformers {transformers}: {ok} ok,
{unsupported} unsupported, {wrong} wrong.

The {wanted} are every classifier of torchvision, of timm the smallest variant of each family (the others
can be named in suite files as well), and of Hugging Face's transformers every type of image classifier in
its default configuration. Each network was built with random weights, none of them near zero, for the
smallest square images that it takes, {smallest} to {largest} pixels wide. Units were removed by random
scores until 30% of the MACs were gone, under the scope `protected`, or 15% or 7.5% where the units that can
go do not reach more, and the pruned network was compared with the dense one in which the same units are
masked. The columns:

- **image**: height and width of the images.
- **outcome**: `ok`; `unsupported`: it cannot be pruned so, and a trial ends with the reason; `wrong`: the
  pruned network computed something else, so a trial fails.
- **units**: share of the units, the output layer's aside, that can go; the others stay, for the reason given.
- **difference**: the largest between pruned and masked outputs, relative to the largest output.
- **trace**: processor seconds that finding the coupled groups took, at one thread. A run allows
  60 s for it; what takes longer is unsupported there.
"""

_HEAD = """\
| model | parameters | image | outcome | units | MACs removed | difference | trace | reason |
|---|--:|--:|---|--:|--:|--:|--:|---|
"""


def _introduction(rows: Sequence[Row], wanted: int) -> str:
    counts = {status: sum(row.status == status for row in rows) for status in ("ok", "unsupported", "wrong")}
    installed = versions("timm/") | versions(f"{HUGGING_FACE}/")
    sizes = {"smallest": SIZES[0], "largest": SIZES[-1]}
    return _INTRODUCTION.format(surveyed=len(rows), wanted=wanted, **sizes, **counts, **installed)


def _why(row: Row) -> str:
    return f" ({_short(row.reason)})" if row.reason else ""


def _short(reason: str) -> str:
    return textwrap.shorten(reason, REASON_WIDTH, placeholder=" …").replace("|", r"\|")


def _line(row: Row) -> str:
    cells = [
        f"`{row.model}`",
        f"{row.parameters / 1e6:.2f} M" if row.parameters else "",
        str(row.image or ""),
        row.status,
        "" if row.prunable_units is None else f"{row.prunable_units:.0%}",
        "" if row.macs_removed is None else f"{row.macs_removed:.1%}",
        "" if row.relative_difference is None else f"{row.relative_difference:.0e}",
        f"{row.trace_seconds:.1f} s",
        _short(row.reason),
    ]
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Survey what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="JSON lines, one per surveyed architecture; added to")
    parser.add_argument("page", type=Path, help="the page to write")
    parser.add_argument("--only", nargs="*", metavar="MODEL", help="architectures; default: all of the table")
    parser.add_argument("--limit", type=float, default=900, help="seconds for finding the groups of one")
    parser.add_argument("--memory", type=float, default=16, help="10^9 bytes for one")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2))
    options = parser.parse_args()
    wanted = all_models() if options.only is None else options.only
    known = read(options.results)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    multiprocessing.set_forkserver_preload(PRELOADED)
    with options.results.open("a") as file, ThreadPoolExecutor(options.jobs) as pool:
        missing = [name for name in wanted if name not in known or known[name].status == "unfinished"]
        waiting = [pool.submit(survey_apart, name, options.limit, options.memory) for name in missing]
        for number, future in enumerate(as_completed(waiting), start=1):
            row = future.result()
            known[row.model] = row
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()
            sys.stderr.write(f"{number}/{len(missing)} {row.model}: {row.status} {row.reason[:80]}\n")
    options.page.write_text(page(known.values(), wanted))


if __name__ == "__main__":
    main()
