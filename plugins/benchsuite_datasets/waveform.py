"""The waveform recognition problem of the CART book."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import benchsuite

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchsuite_datasets._raw_splits import RawSplit

TEST_FRACTION = 0.2
SAMPLES = 5000
SEED = 1984
UCI_FILES = {21: "waveform/waveform.data", 40: "waveform/waveform-+noise.data"}


class Waveform(benchsuite.DatasetPlugin):
    """Three classes of noisy waves in 21 or 40 attributes, 5000 samples (Breiman et al. 1984).

    A sample is u h_a + (1 - u) h_b + noise at 21 places, with u uniform on [0, 1], standard normal noise and
    two of three triangular waves of height 6 around the places 7, 15 and 11: the first two in class 0, the
    first and third in class 1, the last two in class 2, as in UCI's files. With 40 attributes, 19 attributes
    of pure noise follow.

    A fixed fifth of each class is the test split; a tenth of the rest of each class is the validation split:
    about 3600 training, 400 validation and 1000 test samples.
    """

    name = "waveform"
    attributes: Literal[21, 40] = 40
    normalise: Literal["own", "none"] = "own"
    """The mean and standard deviation for normalising inputs: the data set's "own", or "none"."""
    source: Literal["generated", "uci"] = "generated"
    """Generated with a fixed seed, or UCI's own draws from `waveform/` in the data folder."""

    def load(self, folder: Path) -> benchsuite.Dataset:
        """Return the splits; raises `DataError` if UCI's file is requested but absent or malformed."""
        from benchsuite_datasets._raw_splits import RawSplits, assemble
        from benchsuite_datasets._splits import stratified_split

        samples = (
            _generated(self.attributes)
            if self.source == "generated"
            else _read_uci(self._uci_file(folder), self.attributes)
        )
        kept, held = stratified_split(samples.labels, TEST_FRACTION)
        splits = RawSplits(samples.take(kept), samples.take(held))
        return assemble(splits, ("0", "1", "2"), normalise=self.normalise)

    def fingerprint(self, folder: Path) -> str:
        """SHA-256 of UCI's file if it is the source."""
        return "" if self.source == "generated" else benchsuite.file_fingerprint(self._uci_file(folder))

    def _uci_file(self, folder: Path) -> Path:
        return folder / UCI_FILES[self.attributes]


def _generated(attributes: int) -> RawSplit:
    import numpy as np

    from benchsuite_datasets._raw_splits import RawSplit

    generator = np.random.default_rng(SEED)
    places = np.arange(1, 22)
    waves = np.stack([np.maximum(6 - np.abs(places - centre), 0) for centre in (7, 15, 11)])
    labels = generator.integers(3, size=SAMPLES)
    first, second = np.array([(0, 1), (0, 2), (1, 2)])[labels].T
    share = generator.random((SAMPLES, 1))
    clean = share * waves[first] + (1 - share) * waves[second]
    # The noise of the 21 places is drawn first, so that both variants share it.
    noise = [generator.standard_normal((SAMPLES, 21)), generator.standard_normal((SAMPLES, 19))]
    values = np.concatenate([clean + noise[0], noise[1]], axis=1)[:, :attributes]
    return RawSplit(values.astype(np.float32), labels.astype(np.int64), "waveform (generated)")


def _read_uci(path: Path, attributes: int) -> RawSplit:
    import numpy as np

    from benchsuite_datasets._raw_splits import RawSplit

    if not path.is_file():
        raise benchsuite.DataError(
            f'there is no file {path}; put there UCI\'s file of that name, or use source = "generated"'
        )
    expected = f"UCI's rows hold {attributes} finite numbers and a class 0, 1 or 2, separated by commas"
    try:
        table: NDArray[Any] = np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise benchsuite.DataError(f"{path} is malformed: {error}; {expected}") from error
    if table.shape[1] != attributes + 1:
        raise benchsuite.DataError(f"{path} has {table.shape[1]} columns; {expected}")
    labels = table[:, -1].astype(np.int64)
    if not np.isfinite(table).all() or not np.isin(table[:, -1], (0, 1, 2)).all():
        row = np.flatnonzero(~np.isfinite(table).all(1) | ~np.isin(table[:, -1], (0, 1, 2)))[0] + 1
        raise benchsuite.DataError(f"{path}, row {row} is malformed; {expected}")
    return RawSplit(table[:, :-1].astype(np.float32), labels, str(path))
