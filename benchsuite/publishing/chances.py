"""With which chance trials that are run again catch numbers that were made up."""

from __future__ import annotations

import math


def chance_to_catch(cells: int, forged: int, again: int) -> float:
    """The chance that at least one of the forged cells is among those drawn to be run again.

    1 - C(cells - forged, again) / C(cells, again): cells are drawn without replacement, each as likely as any
    other, so the number of forged ones among them is hypergeometric. Factor by factor the quotient is the
    chance that each forged cell in turn is not drawn.

    Args:
        cells: from how many is drawn.
        forged: how many of them are forged.
        again: how many are drawn.

    Raises:
        ValueError: more are forged or drawn than there are cells.
    """
    if not 0 <= forged <= cells or not 0 <= again <= cells:
        raise ValueError(f"{forged} forged and {again} drawn are not among {cells} cells")
    return 1 - math.prod(max(0, cells - again - n) / (cells - n) for n in range(forged))
