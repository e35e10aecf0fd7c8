"""The table: a row a record of the catalogue, with what its benchmark leaves to be derived."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.catalogue import TABLE as RECORDS
from tests.catalogue.record import Arrays, Benchmark, Record

Size = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One loss: its arrays, its sizes, and how others write it."""

    record: Record

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def benchmark(self) -> Benchmark:
        return self.record.benchmark

    @property
    def ours(self) -> Callable[..., Any]:
        return self.benchmark.call or self.record.loss

    @property
    def gradients(self) -> tuple[int, ...]:
        """Nobody trains a target."""
        predictions = (at for at in self.record.differentiable if self.record.arrays[at] != "target")
        return tuple(predictions) if self.benchmark.gradients is None else self.benchmark.gradients

    def draw(self, size: Size) -> Arrays:
        """Floats are float32 and get the dtype that is measured."""
        rng, draw = np.random.default_rng(0), self.benchmark.draw
        arrays = draw(rng, *size) if draw else self.record.draw(rng, size, {})
        return tuple(array.astype(np.float32 if array.dtype.kind == "f" else np.int32, copy=False) for array in arrays)

    def in_torch(self, torch: Any) -> Callable[..., Any]:
        ready_made = None if self.benchmark.torch else getattr(torch.nn.functional, self.name, None)
        return ready_made or functools.partial(self.benchmark.torch or self.benchmark.plain, torch)


TABLE = tuple(map(Row, RECORDS))
