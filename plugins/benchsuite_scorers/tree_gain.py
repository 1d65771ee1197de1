"""Which units a decision tree splits on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from benchsuite import Scorer
from benchsuite_scorers._reached import skip_unreached
from benchsuite_scorers._trees import column_order, table_name, tree_depth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class TreeGain(Scorer):
    """The total gain of a unit's feature in one decision tree that predicts the classes.

    The tree is fitted to predict the labels from the table of activations (samples x units); its depth is
    log2 of the number of units, rounded. A unit's score is the sum over the splits on it of the decrease of
    the Gini impurity, weighted by the samples that reach the split; the scores of a layer sum to 1. It fails
    to rank most units of a large layer, which are never split on and all score 0, and units with the same
    information, of which the first gets the whole gain. Cost: one shared forward pass and one tree per layer,
    on the CPU.

    Source: Du Toit 2024, section 3.
    """

    name = "tree-gain"
    imports = ("sklearn.tree",)
    reduction: Literal["mean", "max", "top-k-mean"] = "mean"
    """How a sample's activation map is reduced to one number."""
    k: Annotated[int, Field(ge=1)] = 5
    """How many positions the reduction "top-k-mean" uses."""
    depth: Annotated[int, Field(ge=1)] | None = None
    """The tree's depth; by default log2 of the number of units, rounded, and at least 1."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the normalised total gain by unit."""
        import torch
        from sklearn.tree import DecisionTreeClassifier

        labels = torch.cat([labels for _, labels in context.batches()]).cpu().numpy()
        seed = int(torch.randint(2**31 - 1, (1,), generator=context.generator))
        scores, trees = {}, []
        for name, table in context.activations(table_name(self.reduction, self.k)).items():
            depth = self.depth or tree_depth(table.shape[1])
            order = column_order(table.numpy())
            tree = DecisionTreeClassifier(max_depth=depth, random_state=seed)
            columns = table.numpy()[:, order]
            gains = tree.fit(columns, labels).feature_importances_
            right = float(tree.score(columns, labels))
            grown = {"depth": int(tree.get_depth()), "leaves": int(tree.get_n_leaves())}
            trees.append({"layer": name, "training_accuracy": right, **grown})
            scores[name] = torch.zeros(len(order), dtype=torch.float64)
            scores[name][torch.from_numpy(order)] = torch.from_numpy(gains)
        skip_unreached(context, scores)
        if trees:
            context.report("trees", trees)
        return scores

    def reductions(self) -> Sequence[str]:
        """Return the one table it reads."""
        return (table_name(self.reduction, self.k),)
