"""The page of a dense network: what every criterion says of its units, its errors by class, feature maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchsuite.trials.description import MOST_UNITS
from benchsuite_leaderboard.board import Workload
from benchsuite_leaderboard.pages.criterion import distinct_criteria
from benchsuite_leaderboard.pages.environment import environment
from benchsuite_leaderboard.pages.formats import clean, shortened

if TYPE_CHECKING:
    from benchsuite.trials.description import Counts
    from benchsuite_leaderboard.rankings import ShownNetwork
    from benchsuite_leaderboard.report import Report

MOST_CLASSES = 20
"""Of more classes there is no table of which was taken for which, and only the hardest are listed."""
MOST_LISTED = 100
"""Of more layers the first ones are listed in full; the chooser has all."""


def rankings_page(report: Report) -> str:
    """The list of all dense networks with their pages."""
    return (
        environment()
        .get_template("rankings.html.j2")
        .render(report=report, pair_of=workload_of, root="", here="rankings")
    )


def ranking_page(report: Report, network: ShownNetwork) -> str:
    """The page of one network; a script shows the layer and the criterion that the reader chooses."""
    maps = network.maps
    return (
        environment()
        .get_template("ranking.html.j2")
        .render(
            report=report,
            network=network,
            pair=workload_of(network),
            criteria={criterion.label: criterion for criterion in distinct_criteria(report)},
            errors=_errors(network),
            rows={layer: (row, units) for row, (layer, units) in enumerate(maps.layers, 1)} if maps else {},
            listed=network.layers[:MOST_LISTED],
            most_units=MOST_UNITS,
            data=ranking_data(network),
            root="../",
            here="rankings",
        )
    )


def ranking_data(network: ShownNetwork) -> dict[str, Any]:
    """What the page's script needs beside the scores of the layers, which it loads."""
    found: dict[str, Any] = {
        "network": network.train,
        "criteria": [clean(label, 200) for label in network.ranking.criteria],
        "layers": [
            {
                "name": clean(each.ranking.layer, 200),
                "units": each.ranking.units,
                "k": each.ranking.k,
                "sorted": each.ranking.sorted,
            }
            for each in network.layers
        ],
    }
    if (maps := network.maps) is not None:
        rows = {layer: (row, units) for row, (layer, units) in enumerate(maps.layers, 1)}
        found["maps"] = [rows.get(each.ranking.layer) for each in network.layers]
    return found


def workload_of(network: ShownNetwork) -> Workload:
    """Its data set and model."""
    return Workload(network.ranking.dataset, network.ranking.model)


def _errors(network: ShownNetwork) -> dict[str, Any] | None:
    """Accuracies by class of the test and the training split, and where classes are few all counts."""
    description = network.description
    if description is None:
        return None
    classes = [
        (shortened(name, 40), _recall(description.test, place), _recall(description.train, place))
        for place, name in enumerate(description.classes)
    ]
    hardest = sorted(classes, key=lambda each: 2.0 if each[1] is None else each[1])
    few = len(classes) <= MOST_CLASSES
    return {
        "classes": classes if few else hardest[:MOST_CLASSES],
        "count": len(classes),
        "tables": [("Test", description.test), ("Training", description.train)] if few else [],
        "names": [shortened(name, 28) for name in description.classes],
        "test": _accuracy(description.test),
        "train": _accuracy(description.train),
        "counted": sum(map(sum, description.train)),
        "samples": description.train_samples,
    }


def _recall(counts: Counts, place: int) -> float | None:
    total = sum(counts[place])
    return counts[place][place] / total if total else None


def _accuracy(counts: Counts) -> float | None:
    total = sum(map(sum, counts))
    return sum(row[place] for place, row in enumerate(counts)) / total if total else None
