"""How a row of the table is drawn, computed and compared."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.catalogue import TABLE
from tests.catalogue.record import Row

BATCH = (3, 4)
# As users compile: `conftest.py` turns XLA's optimiser off.
OPTIMISED = {"xla_backend_optimization_level": 3}
# Nodes and weights of a central difference of sixth order.
STENCIL = ((-3, -1 / 60), (-2, 3 / 20), (-1, -3 / 4), (1, 3 / 4), (2, -3 / 20), (3, 1 / 60))


class Case(NamedTuple):
    """A row with one choice of options."""

    row: Row
    options: dict[str, Any]
    name: str

    def draw(self, seed: int = 0, batch: tuple[int, ...] = BATCH) -> tuple[np.ndarray, ...]:
        return self.row.draw(np.random.default_rng(seed), batch, self.options)

    def mask(self, seed: int = 0, batch: tuple[int, ...] = BATCH) -> np.ndarray:
        return np.random.default_rng(seed + 100).random(size=batch) < 0.6

    def loss(self, dtype: Any = None, **options: Any) -> Callable[..., jax.Array]:
        """The loss with the case's options, lists of numbers as arrays."""
        given = {name: as_option(value, dtype) for name, value in (self.options | options).items()}
        return lambda *arrays, **more: self.row.loss(*arrays, **given, **more)

    def oracle(self, arrays: Any, reduction: str, where: Any = True, constant_at: Any = None) -> np.ndarray:
        """The reduced loss in extended precision."""
        extra = {"constant_at": constant_at} if self.row.constant_factor else {}
        values, counts = self.row.oracle(*map(extended, arrays), where=where, **self.options, **extra)
        if reduction == "none":
            return values
        if reduction == "sum":
            return values.sum()
        if reduction == "batchmean":
            kept = np.broadcast_to(where, values.shape)
            examples = kept.reshape(len(kept), -1).any(1).sum() if kept.ndim else int(kept)
            return values.sum() / (examples or 1)
        # Where no weight is left, label smoothing may leave values: a mean over nothing is 0 all the same.
        return values.sum() / counts.sum() if counts.sum() else np.zeros((), values.dtype)

    def oracle_gradient(self, arrays: Any, where: Any = True) -> list[np.ndarray]:
        """Of the default reduction, by central differences in extended precision: more digits than float64 has."""
        step = np.longdouble(10) ** -5
        arrays = [extended(array) for array in arrays]
        gradients = []
        for position in self.row.differentiable:
            gradient = np.zeros_like(arrays[position])
            for index in np.ndindex(gradient.shape):
                for offset, weight in STENCIL:
                    moved = list(arrays)
                    moved[position] = arrays[position].copy()
                    moved[position][index] += offset * step
                    value = self.oracle(moved, self.row.default_reduction, where, constant_at=arrays)
                    gradient[index] += np.longdouble(weight) * value / step
            gradients.append(gradient)
        return gradients

    def with_garbage(self, arrays: Any, where: np.ndarray, dtype: Any) -> list[np.ndarray]:
        """The arrays, with what must never count under the mask."""
        spoilt = []
        for position, (array, garbage) in enumerate(zip(arrays, self.row.garbage, strict=True)):
            array = array.astype(array.dtype if array.dtype.kind == "i" else dtype)
            if position in self.row.shared:
                spoilt.append(array)
                continue
            hidden = ~self.elements(where, array.shape)
            array[hidden] = np.resize(np.asarray(garbage).astype(array.dtype), hidden.sum() + position)[position:]
            spoilt.append(array)
        return spoilt

    def elements(self, where: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A mask of losses as a mask of the elements of an array; what a row of losses shares counts if one does."""
        if len(shape) < where.ndim or (len(shape) == where.ndim and shape[-1] < where.shape[-1]):
            where = np.any(where, -1, keepdims=len(shape) == where.ndim)
        more = len(shape) - where.ndim
        axis = (self.options.get("axis", -1),) if more == 1 else tuple(range(-more, 0))
        return np.broadcast_to(np.expand_dims(where, axis), shape)

    def arguments(self) -> list[str]:
        """Names of the arrays."""
        parameters = inspect.signature(self.row.loss).parameters.values()
        return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


CASES = [
    Case(row, options, f"{row.name}-{'-'.join(options) or 'default'}") for row in TABLE for options in row.variants
]
FIRST = [case for case in CASES if case.options == case.row.variants[0]]


def extended(array: np.ndarray) -> np.ndarray:
    return array.astype(np.longdouble) if array.dtype.kind == "f" else array


def as_option(value: Any, dtype: Any = None) -> Any:
    is_array = isinstance(value, list) and not all(isinstance(entry, int) for entry in value)
    return jnp.asarray(value, dtype or float) if is_array else value


def as_arrays(arrays: Any, dtype: Any) -> list[jax.Array]:
    """Floats in the dtype, integers as they are."""
    arrays = [np.asarray(array) for array in arrays]
    return [jnp.asarray(array, dtype if array.dtype.kind == "f" else None) for array in arrays]


def values_and_gradients(
    case: Case, dtype: Any, arrays: Any, where: Any = None, compiler_options: Any = None
) -> tuple[dict[str, Any], Any]:
    """The loss under each reduction, and the gradients of the default one, from one compilation."""

    def compute(arrays: Any) -> Any:
        loss = functools.partial(case.loss(dtype), where=where)
        values = {name: loss(*arrays, reduction=name) for name in {"none", "sum", "mean", case.row.default_reduction}}
        return values, jax.grad(loss, case.row.differentiable)(*arrays)

    return jax.jit(compute, compiler_options=compiler_options)(tuple(arrays))


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Relative to each entry, and to the largest."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    scale = np.max(np.abs(expected), initial=0, where=np.isfinite(expected)) or 1.0
    np.testing.assert_allclose(actual, expected.astype(np.float64), rtol=tolerance, atol=tolerance * float(scale))
