"""Made-up texts whose class is half in their words and half in the order of two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

import benchsuite

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from benchsuite_datasets._texts import RawTexts

SEED = 1948
TEST_FRACTION = 0.2
_TOPICAL = 0.3
"""The share of a text's ordinary words that are of its topic."""
_OWN_WORDS = 4
"""Words of each topic."""


class WordOrder(benchsuite.DatasetPlugin):
    """Made-up texts as token ids, whose class is half in their words and half in the order of two of them.

    Of `classes` classes, class 2 t + o has topic t and order o. A text begins with the start token, is
    between half of `steps` and `steps` tokens long, and is padded. Two tokens, the markers, occur once in
    each text: in order 0 the first marker stands somewhere before the second, in order 1 behind it. Of the
    other words three in ten are of the text's topic, which has four of its own; the rest are common to all
    texts, and frequent as in language, word k with a frequency of 1 / k (Zipf 1949). A classifier that knows
    which words occur, and not in which order, is right on half of the texts at most, but for chance.

    A fixed fifth of each class is the test split; a tenth of the rest of each class is the validation split.
    """

    name = "word-order"
    samples: Annotated[int, Field(ge=40, le=1_000_000)] = 2000
    steps: Annotated[int, Field(ge=6, le=4096)] = 16
    """Tokens of the longest text, the start token among them."""
    vocabulary: Annotated[int, Field(ge=16, le=1_000_000)] = 64
    """Token ids in all: padding, unknown, start, two markers, four words of each topic, common words."""
    classes: Annotated[int, Field(ge=2, le=64, multiple_of=2)] = 4

    def load(self, folder: Path) -> benchsuite.Dataset:  # noqa: ARG002 - it reads no files
        """Return the splits; raises `DataError` for a vocabulary without common words or too few samples."""
        from benchsuite_datasets._splits import stratified_split
        from benchsuite_datasets._texts import assemble

        texts = self._generated()
        kept, held = stratified_split(texts.labels, TEST_FRACTION)
        names = tuple(f"topic {label // 2}, order {label % 2}" for label in range(self.classes))
        return assemble(texts.take(kept), texts.take(held), names, self.vocabulary)

    def _generated(self) -> RawTexts:
        import numpy as np

        from benchsuite_datasets._texts import SPECIAL, START, RawTexts

        common = SPECIAL + 2 + _OWN_WORDS * (self.classes // 2)
        if common >= self.vocabulary or self.samples < 10 * self.classes:
            raise benchsuite.DataError(
                f"word-order: {self.classes} classes need a vocabulary of more than {common} tokens and at "
                f"least {10 * self.classes} samples"
            )
        generator = np.random.default_rng(SEED)
        labels = np.arange(self.samples, dtype=np.int64) % self.classes
        generator.shuffle(labels)
        ids = np.zeros((self.samples, self.steps), np.int64)
        mask = np.zeros_like(ids)
        lengths = generator.integers(max(4, self.steps // 2), self.steps + 1, size=self.samples)
        for row, (label, length) in enumerate(zip(labels.tolist(), lengths.tolist(), strict=True)):
            ids[row, 0], mask[row, :length] = START, 1
            ids[row, 1:length] = self._words(generator, label // 2, length - 1, common)
            places = np.sort(generator.choice(np.arange(1, length), size=2, replace=False))
            ids[row, places] = (SPECIAL + 1, SPECIAL) if label % 2 else (SPECIAL, SPECIAL + 1)
        return RawTexts(ids, mask, labels, "word-order (generated)")

    def _words(
        self, generator: np.random.Generator, topic: int, count: int, common: int
    ) -> NDArray[np.int64]:
        """Words of a text of some topic, without its markers."""
        import numpy as np

        from benchsuite_datasets._texts import SPECIAL

        frequency = 1 / np.arange(1, self.vocabulary - common + 1)
        drawn = generator.choice(self.vocabulary - common, size=count, p=frequency / frequency.sum()) + common
        own = generator.integers(_OWN_WORDS, size=count) + SPECIAL + 2 + _OWN_WORDS * topic
        words: NDArray[np.int64] = np.where(generator.random(count) < _TOPICAL, own, drawn)
        return words
