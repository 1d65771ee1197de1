"""Activation tables and gradient statistics, computed once for all scorers of a network."""

from __future__ import annotations

import hashlib
import weakref
from functools import cached_property, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchsuite.scoring.backward import sum_statistics
from benchsuite.scoring.padding import alike, counted, kept_positions
from benchsuite.scoring.points import as_maps
from benchsuite.scoring.tables import TableStore, fingerprint
from benchsuite.store.files import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchsuite.scoring.gradients import GradientStatistic
    from benchsuite.scoring.reductions import Reduction
    from benchsuite.scoring.sampled_network import SampledNetwork


class SharedPasses:
    """Computes everything that a network's scorers have announced in shared passes, and stores it.

    Args:
        network: the network and its samples.
        store: where to keep what was computed.
        reductions: the announced tables; the first forward pass fills them all.
        statistics: the announced gradient statistics; the first backward pass fills them all.
    """

    def __init__(
        self,
        network: SampledNetwork,
        store: TableStore,
        reductions: Sequence[Reduction],
        statistics: Sequence[GradientStatistic],
    ) -> None:
        # The network owns this object: without a reference cycle its memory is freed at once.
        self._network: SampledNetwork = weakref.proxy(network)
        self._store = store
        self._reductions, self._statistics = tuple(reductions), tuple(statistics)

    def fill(self, tell: Callable[[str], None]) -> None:
        """Compute everything that was announced and is not in the store yet.

        Args:
            tell: told in a sentence what cannot be computed; whoever asks for it then gets the error.
        """
        passes = [(each.name, partial(self.table, each)) for each in self._reductions]
        passes += [(each.name, partial(self.statistic, each)) for each in self._statistics]
        for name, compute in passes:
            try:
                compute()
            except StorageError:
                raise
            except Exception as error:  # noqa: BLE001 - a reduction may raise anything
                tell(f"{name} cannot be shared: {type(error).__name__}: {error}")

    def table(self, wanted: Reduction) -> dict[str, Tensor]:
        """Return by layer the float32 table (samples, units) of a reduction, on the CPU."""
        table = self._store.load(self._table_key(wanted))
        if table is None:
            with self._store.lock():
                self._fill_tables(wanted)
            table = self._store.load(self._table_key(wanted))
        assert table is not None
        return {name: table[:, columns] for name, columns in self._columns.items()}

    def statistic(self, wanted: GradientStatistic) -> dict[str, Tensor]:
        """Return by layer or group a gradient statistic, a copy on the CPU."""
        found = self._store.load_tensors(self._statistic_key(wanted))
        if found is None:
            with self._store.lock():
                self._fill_statistics(wanted)
            found = self._store.load_tensors(self._statistic_key(wanted))
        assert found is not None
        return found

    @cached_property
    def _columns(self) -> dict[str, slice]:
        reached = self._network.reached
        ends = torch.tensor([layer.units for layer in reached]).cumsum(0).tolist()
        return {layer.name: slice(end - layer.units, end) for end, layer in zip(ends, reached, strict=True)}

    @cached_property
    def _content(self) -> str:
        """Identifies the network, its layers and the samples."""
        network = self._network
        layers = " ".join(layer.name for layer in network.layers)
        structure = f"{network.model}\n{layers}\n{network.batch_size}"
        weights = fingerprint(dict(network.model.state_dict()))
        return f"{weights}\n{fingerprint(network.raw_samples)}\n{structure}"

    @cached_property
    def _coupling(self) -> str:
        """Identifies the coupled groups and where they are read."""
        return hashlib.sha256(repr(self._network.groups).encode()).hexdigest()

    def _table_key(self, reduction: Reduction) -> str:
        return f"{self._content}\n{reduction.key}"

    def _statistic_key(self, statistic: GradientStatistic) -> str:
        own = [self._network.own_parameters(layer) for layer in self._network.layers]
        return f"{self._content}\n{self._network.granularity}\n{own}\n{self._coupling}\n{statistic.key}"

    def _fill_tables(self, wanted: Reduction) -> None:
        """Run the samples through the network once for every reduction that is not in the store."""
        missing = {
            self._table_key(reduction): reduction
            for reduction in (wanted, *self._reductions)
            if self._store.load(self._table_key(reduction)) is None
        }
        if not missing:
            return  # Another process filled them while this one waited for the lock.
        try:
            self._compute_tables(missing)
        except Exception:
            if len(missing) == 1:
                raise
            # Another reduction may not fit this network; who asks for that one gets the error.
            self._compute_tables({self._table_key(wanted): wanted})

    def _compute_tables(self, missing: Mapping[str, Reduction]) -> None:
        """Store tables by key, all from one forward pass per batch."""
        network = self._network
        width = sum(layer.units for layer in network.reached)
        with self._store.filling(list(missing), (network.samples, width)) as arrays, torch.no_grad():
            row = 0
            for inputs, _ in network.batches():
                count = len(inputs)
                filled = [torch.zeros(count, width, device=network.device) for _ in missing]
                counting = kept_positions(inputs)
                with network.reading(partial(self._reduce, list(missing.values()), filled, counting)):
                    network.model(inputs)
                for array, table in zip(arrays, filled, strict=True):
                    array[row : row + count] = table.cpu().numpy()
                row += count

    def _reduce(
        self,
        reductions: list[Reduction],
        tables: list[Tensor],
        counting: Tensor | None,
        name: str,
        tensor: Tensor,
    ) -> None:
        maps = as_maps(self._network.layer(name), tensor, len(tables[0]))
        module = self._network.layer(name).module
        for rows, some in alike(maps, counted(module, maps.shape[2:], counting)):
            for table, reduction in zip(tables, reductions, strict=True):
                table[rows, self._columns[name]] = reduction(some)

    def _fill_statistics(self, wanted: GradientStatistic) -> None:
        """Compute every statistic that is not in the store with one backward pass per batch."""
        missing = {
            self._statistic_key(statistic): statistic
            for statistic in (wanted, *self._statistics)
            if self._store.load_tensors(self._statistic_key(statistic)) is None
        }
        if not missing:
            return  # Another process filled them while this one waited for the lock.
        try:
            totals = sum_statistics(self._network, list(missing.values()))
        except Exception:
            if len(missing) == 1:
                raise
            # Another scorer's statistic may not fit this network; that scorer gets the error when it asks for
            # it.
            missing = {self._statistic_key(wanted): wanted}
            totals = sum_statistics(self._network, [wanted])
        for key, total in zip(missing, totals, strict=True):
            self._store.save_tensors(key, total)
