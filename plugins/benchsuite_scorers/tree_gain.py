"""Which units a decision tree splits on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from benchsuite import Scorer, Unsupported
from benchsuite_scorers._one_round import GrownTree, one_round
from benchsuite_scorers._reached import skip_unreached
from benchsuite_scorers._trees import column_order, table_name, tree_depth

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from benchsuite import ScoringContext


class TreeGain(Scorer):
    """The total gain of a unit's feature in one decision tree that predicts the classes.

    The tree is fitted to predict the labels from the table of activations (samples x units); its depth is
    log2 of the number of units, rounded. A unit's score is the sum of the gains of the splits on it; the
    scores of a layer sum to 1. It fails to rank most units of a large layer, which are never split on and all
    score 0, and units with the same information, of which the first gets the whole gain. Cost: one shared
    forward pass and one tree per layer, on the CPU.

    The paper takes the gain of Chen and Guestrin 2016 (XGBoost): 1/2 [G_L^2 / (H_L + lambda) + G_R^2 / (H_R +
    lambda) - (G_L + G_R)^2 / (H_L + H_R + lambda)] - gamma, with the sums G and H of the first and second
    derivatives of the loss. It prints a plus before the third term, which is taken for a slip of the pen.
    `gain = "xgboost"` is this, for one tree with a value per class in its leaves and one round of boosting
    from equal probabilities of the classes: a split gains the sum over the classes, with lambda = 1 and gamma
    = 0 (XGBoost's defaults) and no least weight of a leaf. `gain = "gini"` is a classification tree: the
    decrease of the Gini impurity, weighted by the samples that reach the split. With one round,
    `xgboost-gain` grows a tree per class instead.

    Reported for each layer: the tree's accuracy on the samples that it was fitted to, its depth and leaves.

    Source: Du Toit 2024, section 3, with the gain of Chen and Guestrin 2016, eq. 7.
    """

    name = "tree-gain"
    imports = ("sklearn.tree",)
    gain: Literal["xgboost", "gini"] = "xgboost"
    """What a split gains: of XGBoost's objective, or of the Gini impurity (scikit-learn's tree)."""
    reduction: Literal["mean", "max", "top-k-mean"] = "mean"
    """How a sample's activation map is reduced to one number."""
    k: Annotated[int, Field(ge=1)] = 5
    """How many positions the reduction "top-k-mean" uses."""
    depth: Annotated[int, Field(ge=1)] | None = None
    """The tree's depth; by default log2 of the number of units, rounded, and at least 1."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the normalised total gain by unit."""
        import numpy as np
        import torch

        labels = torch.cat([labels for _, labels in context.batches()]).cpu().numpy()
        classes, numbers = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise Unsupported("all samples are of one class, so there is nothing to tell apart")
        seed = int(torch.randint(2**31 - 1, (1,), generator=context.generator))
        scores, trees = {}, []
        for name, table in context.activations(table_name(self.reduction, self.k)).items():
            depth = self.depth or tree_depth(table.shape[1])
            order = column_order(table.numpy())
            columns = table.numpy()[:, order]
            tree = (
                _gini_tree(columns, numbers, depth, seed)
                if self.gain == "gini"
                else (one_round(columns, numbers, depth))
            )
            grown = {"depth": tree.depth, "leaves": tree.leaves}
            trees.append({"layer": name, "training_accuracy": tree.right, **grown})
            scores[name] = torch.zeros(len(order), dtype=torch.float64)
            scores[name][torch.from_numpy(order)] = torch.from_numpy(tree.gains / (tree.gains.sum() or 1.0))
        skip_unreached(context, scores)
        if trees:
            context.report("trees", trees)
        return scores

    def reductions(self) -> Sequence[str]:
        """Return the one table it reads."""
        return (table_name(self.reduction, self.k),)


def _gini_tree(
    columns: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], depth: int, seed: int
) -> GrownTree:
    """scikit-learn's tree; its gains sum to 1."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=depth, random_state=seed).fit(columns, labels)
    right = float(tree.score(columns, labels))
    return GrownTree(tree.feature_importances_, int(tree.get_depth()), int(tree.get_n_leaves()), right)
