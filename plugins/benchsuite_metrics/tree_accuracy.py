"""How well decision trees predict the classes from the units of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from benchsuite import Metric, Quantity, Unsupported
from benchsuite_scorers._trees import tree_depth

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from benchsuite import MetricContext

    Table = npt.NDArray[np.float32]
    Numbers = npt.NDArray[np.int64]


class TreeAccuracy(Metric):
    """Test accuracy of trees that are fitted to a layer's activations, whole and as units are left out.

    For each layer, trees are fitted to the table of the training split's activations (samples x units) and
    their classes; their depth is log2 of the number of units, rounded, and at least 1. Then units are left
    out, those of the least gain first and those of the greatest gain first, and trees are fitted anew to the
    rest. It says how much of what the classes need lies in how few units; the network itself is not pruned.

    For people: the gain of each unit (figure 3), the accuracy as units go (figure 4), and for each
    unit of which class the samples are that have their largest activation there (figure 2).

    Source: Du Toit 2024, sections 3 and 4, table 1; the trees are those of Chen and Guestrin 2016.
    """

    name = "tree-accuracy"
    stages = ("dense",)
    quantities: ClassVar = {
        "single": Quantity("test accuracy of a single tree", better="higher"),
        "boosted": Quantity("test accuracy of boosted trees", better="higher"),
        "without_least": Quantity("accuracy of a tree without the least important units", better="higher"),
        "without_most": Quantity("accuracy of a tree without the most important units"),
    }
    tree: Literal["one-round", "gini"] = "one-round"
    """The single tree: one round of XGBoost's boosting, which is a tree for each class, or scikit-learn's
    classification tree by the Gini impurity."""
    rounds: Annotated[int, Field(ge=0)] = 0
    """Rounds of the boosted trees; 0: none are fitted. The paper uses 500."""
    removed: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Which share of a layer's units is left out for the quantities `without_least` and `without_most`."""
    points: Annotated[int, Field(ge=0, le=100)] = 12
    """How many shares of units are left out for the curves; 0: none, and no `without_…`."""
    reduction: Literal["mean", "max", "top-5-mean"] = "mean"
    """How a sample's activation map is reduced to one number."""
    layers: tuple[str, ...] = ()
    """Names of the layers; by default all that could be pruned."""
    samples: Annotated[int, Field(ge=10)] | None = None
    """How many samples of each split; by default all."""

    def measure(self, context: MetricContext) -> dict[str, float]:
        """Return accuracies by layer."""
        fitted, tested = (
            context.activations(self.reduction, split, samples=self.samples) for split in ("train", "test")
        )
        labels, test_labels = (
            context.activation_labels(split, samples=self.samples).numpy() for split in ("train", "test")
        )
        if len(set(labels.tolist())) < 2:
            raise Unsupported("all samples are of one class, so there is nothing to tell apart")
        absent = [name for name in self.layers if name not in fitted]
        if absent:
            raise Unsupported(f"there is no layer {absent[0]}; there are: {', '.join(fitted)}")
        found: dict[str, float] = {}
        gains: list[dict[str, str | int | float]] = []
        maxima: list[dict[str, str | int | float]] = []
        seed = int(context.generator.initial_seed() % 2**31)
        for number, name in enumerate(self.layers or fitted):
            trees = _Trees(fitted[name].numpy(), labels, tested[name].numpy(), test_labels, seed)
            every = list(range(trees.units))
            single, gain = trees.single(every, self.tree)
            found[f"single/{name}"] = single
            gains += [{"layer": name, "unit": unit, "gain": gain[unit]} for unit in every]
            maxima += _maxima(name, fitted[name].numpy(), labels, context.classes)
            if self.rounds:
                found[f"boosted/{name}"] = trees.boosted(self.rounds)
            if self.points and trees.units > 1:
                found |= self._as_units_go(context, trees, number, name, gain, single)
        context.report("gains", gains)
        context.report("maxima", maxima)
        return found

    def _as_units_go(
        self,
        context: MetricContext,
        trees: _Trees,
        number: int,
        name: str,
        gain: Sequence[float],
        whole: float,
    ) -> dict[str, float]:
        """The accuracy without the least and without the most important units, as a curve and in numbers."""
        least_first = sorted(range(trees.units), key=lambda unit: gain[unit])
        gone = sorted(
            {
                *(round(step * (trees.units - 1) / self.points) for step in range(1, self.points + 1)),
                (asked := min(trees.units - 1, round(self.removed * trees.units))),
            }
            - {0}
        )
        lines: dict[str, list[float]] = {}
        for title, order in (("least first", least_first), ("most first", least_first[::-1])):
            lines[title] = [whole, *(trees.single(order[left_out:], self.tree)[0] for left_out in gone)]
        shares = [0.0, *(left_out / trees.units for left_out in gone)]
        context.curve(f"removal_{number}", shares, lines, (f"share of {name} left out", "test accuracy"))
        place = gone.index(asked) + 1
        return {
            f"without_least/{name}": lines["least first"][place],
            f"without_most/{name}": lines["most first"][place],
        }


class _Trees:
    """Trees on one layer's activations.

    Args:
        table: of the training split, (samples, units).
        labels: its classes.
        test_table: of the test split.
        test_labels: its classes.
        seed: decides splits of equal gain of scikit-learn's tree.
    """

    def __init__(
        self, table: Table, labels: Numbers, test_table: Table, test_labels: Numbers, seed: int
    ) -> None:
        import numpy as np

        self._table, self._test_table, self._test_labels = table, test_table, test_labels
        # XGBoost's classes are 0, 1, ... without a gap.
        self._classes, self._numbers = np.unique(labels, return_inverse=True)
        self._seed = seed

    @property
    def units(self) -> int:
        """Columns of the table."""
        return int(self._table.shape[1])

    def single(self, units: Sequence[int], kind: str) -> tuple[float, list[float]]:
        """The test accuracy of a single tree on some of the units, and the gain of each of them."""
        if kind == "gini":
            from sklearn.tree import DecisionTreeClassifier

            tree = DecisionTreeClassifier(max_depth=tree_depth(len(units)), random_state=self._seed)
            tree.fit(self._table[:, units], self._numbers)
            return self._right(tree, units), [float(gain) for gain in tree.feature_importances_]
        model = self._fitted(units, 1)
        gains: Any = model.get_booster().get_score(importance_type="total_gain")
        return self._right(model, units), [float(gains.get(f"f{n}", 0.0)) for n in range(len(units))]

    def boosted(self, rounds: int) -> float:
        """The test accuracy of boosted trees on all units."""
        every = list(range(self.units))
        return self._right(self._fitted(every, rounds), every)

    def _fitted(self, units: Sequence[int], rounds: int) -> Any:
        import torch
        from xgboost import XGBClassifier

        model = XGBClassifier(
            n_estimators=rounds,
            max_depth=tree_depth(len(units)),
            tree_method="hist",
            random_state=self._seed,
            n_jobs=torch.get_num_threads(),
        )
        return model.fit(self._table[:, units], self._numbers)

    def _right(self, model: Any, units: Sequence[int]) -> float:
        predicted = self._classes[model.predict(self._test_table[:, units])]
        return float((predicted == self._test_labels).mean())


def _maxima(
    layer: str, table: Table, labels: Numbers, classes: Sequence[str]
) -> list[dict[str, str | int | float]]:
    """For each unit, how many samples of each class have their largest activation there."""
    import numpy as np

    counts = np.zeros((table.shape[1], len(classes)), dtype=np.int64)
    np.add.at(counts, (table.argmax(1), labels), 1)
    return [
        {"layer": layer, "unit": unit, **{str(name): int(n) for name, n in zip(classes, row, strict=True)}}
        for unit, row in enumerate(counts)
    ]
