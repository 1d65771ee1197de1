"""Which units gradient-boosted trees split on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from benchsuite import Scorer, Unsupported
from benchsuite_scorers._reached import skip_unreached
from benchsuite_scorers._trees import column_order, table_name, tree_depth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


class XgboostGain(Scorer):
    """The gain of a unit's feature in gradient-boosted trees that predict the classes.

    Like `tree-gain`, with XGBoost's trees (histogram method, on the network's device), one per class and
    round, and its own importance: the reduction of the training loss by the splits on the unit, in total or
    on average. Cost: one shared forward pass; the number of trees per layer is `rounds` times the number of
    classes, which makes it slow for many classes. It fails to rank units with the same information: one of
    them gets the gain. Reported for each layer: the accuracy on the samples that the trees were fitted to.

    Source: Du Toit 2024, section 3, with 500 rounds; Chen and Guestrin 2016 for the gain.
    """

    name = "xgboost-gain"
    imports = ("xgboost",)
    reduction: Literal["mean", "max", "top-k-mean"] = "mean"
    """How a sample's activation map is reduced to one number."""
    k: Annotated[int, Field(ge=1)] = 5
    """How many positions the reduction "top-k-mean" uses."""
    rounds: Annotated[int, Field(ge=1)] = 100
    """Rounds of boosting; the paper uses 500."""
    depth: Annotated[int, Field(ge=1)] | None = None
    """The trees' depth; by default log2 of the number of units, rounded, and at least 1."""
    importance_type: Literal["gain", "total_gain", "weight", "cover", "total_cover"] = "total_gain"
    """Gain per split or in total; splits counted; samples per split or in total."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the importance by unit; 0 for units that no tree splits on."""
        import numpy as np
        import torch
        from xgboost import XGBClassifier

        labels = torch.cat([labels for _, labels in context.batches()]).cpu().numpy()
        classes, numbers = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise Unsupported("all samples are of one class, so there is nothing to tell apart")
        seed = int(torch.randint(2**31 - 1, (1,), generator=context.generator))
        scores, trees = {}, []
        for name, table in context.activations(table_name(self.reduction, self.k)).items():
            model = XGBClassifier(
                n_estimators=self.rounds,
                max_depth=self.depth or tree_depth(table.shape[1]),
                tree_method="hist",
                device=str(context.device),
                random_state=seed,
                n_jobs=torch.get_num_threads(),
            )
            order = column_order(table.numpy())
            columns = table.numpy()[:, order]
            booster = model.fit(columns, numbers).get_booster()
            trees.append({"layer": name, "training_accuracy": float(model.score(columns, numbers))})
            gains: Any = booster.get_score(importance_type=self.importance_type)
            scores[name] = torch.zeros(len(order), dtype=torch.float64)
            for column, unit in enumerate(order):
                scores[name][int(unit)] = gains.get(f"f{column}", 0.0)
        skip_unreached(context, scores)
        if trees:
            context.report("trees", trees)
        return scores

    def reductions(self) -> Sequence[str]:
        """Return the one table it reads."""
        return (table_name(self.reduction, self.k),)
