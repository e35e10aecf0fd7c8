"""How a record of the catalogue is drawn, computed and compared."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss._numerics import xla
from tests.catalogue import TABLE
from tests.catalogue.record import Record

# `python -m pytest --thorough`: see `conftest.py`, and `docs/tests.md` for what the default leaves out.
THOROUGH = bool(os.environ.get("JAXLOSS_THOROUGH"))
BATCH = (3, 4)
# As users compile: `conftest.py` turns XLA's optimiser off.
OPTIMISED = {"xla_backend_optimization_level": 3}
# Nodes and weights of a central difference of sixth order.
STENCIL = ((-3, -1 / 60), (-2, 3 / 20), (-1, -3 / 4), (1, 3 / 4), (2, -3 / 20), (3, 1 / 60))
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A record with one choice of options."""

    record: Record
    options: dict[str, Any]
    name: str
    # As a GPU and a TPU compute it, not as a CPU does.
    elsewhere: bool = False

    @property
    def function(self) -> Callable[..., jax.Array]:
        return as_elsewhere(self.record.loss) if self.elsewhere else self.record.loss

    def batch(self, batch: tuple[int, ...] = BATCH) -> tuple[int, ...]:
        """The shape of a mask: rows that are compared lie on one axis."""
        return (math.prod(batch),) if self.record.rows else batch

    def draw(self, seed: int = 0, batch: tuple[int, ...] = BATCH) -> tuple[np.ndarray, ...]:
        return self.record.draw(np.random.default_rng(seed), self.batch(batch), self.options)

    def mask(self, seed: int = 0, batch: tuple[int, ...] = BATCH) -> np.ndarray:
        return np.random.default_rng(seed + 100).random(size=self.batch(batch)) < 0.6

    def fits(self, batch: tuple[int, ...]) -> bool:
        return self.record.fits(self.options, batch)

    @property
    def weighs_wholes(self) -> bool:
        """Whether what a weight of 0 hides is part of other losses too."""
        return self.record.sets or self.record.rows

    def loss(self, **options: Any) -> Callable[..., jax.Array]:
        """The loss with the case's options, lists of numbers as arrays."""
        given = {name: as_option(value) for name, value in (self.options | options).items()}
        return lambda *arrays, **more: self.function(*arrays, **given, **more)

    def oracle(
        self, arrays: Any, reduction: str, where: Any = True, constant_at: Any = None, sample_weight: Any = None
    ) -> np.ndarray:
        """The reduced loss in extended precision.

        A sample weight of 0 hides a loss as the mask does. Where losses are of sets it weighs sets, and where rows are
        compared, anchors: neither takes anything out of the others.
        """
        extra = {"constant_at": constant_at} if self.record.constant_factor else {}
        kept = where if sample_weight is None or self.weighs_wholes else where & (np.asarray(sample_weight) != 0)
        values, counts = self.record.oracle(*map(extended, arrays), where=kept, **self.options, **extra)
        if sample_weight is not None:
            weights = np.broadcast_to(np.asarray(sample_weight), values.shape)
            values, counts = np.where(weights == 0, 0, values) * weights, counts * weights
        if reduction == "none":
            return values
        if reduction == "sum":
            return values.sum()
        if reduction == "batchmean":
            kept = np.broadcast_to(kept, values.shape)
            examples = kept.reshape(len(kept), -1).any(1).sum() if kept.ndim else int(kept)
            return values.sum() / (examples or 1)
        # Where no weight is left, label smoothing may leave values: a mean over nothing is 0 all the same.
        return values.sum() / counts.sum() if counts.sum() else np.zeros((), values.dtype)

    def oracle_gradient(self, arrays: Any, where: Any = True, sample_weight: Any = None) -> list[np.ndarray]:
        """Of the default reduction."""
        gradients = [np.zeros(np.shape(arrays[position]), np.longdouble) for position in self.record.differentiable]
        for position, gradient in zip(self.record.differentiable, gradients, strict=True):
            for index in np.ndindex(gradient.shape):
                one = np.zeros(gradient.shape)
                one[index] = 1
                gradient[index] = self.oracle_slope(arrays, {position: one}, where, sample_weight)
        return gradients

    def oracle_slope(self, arrays: Any, along: dict[int, Any], where: Any = True, sample_weight: Any = None) -> Any:
        """Of the default reduction along a direction, an array for each position that moves.

        By central differences in extended precision: more digits than float64 has.
        """
        step, slope = np.longdouble(10) ** -5, np.longdouble(0)
        arrays = [extended(array) for array in arrays]
        for offset, weight in STENCIL:
            moved = [array + offset * step * along[i] if i in along else array for i, array in enumerate(arrays)]
            value = self.oracle(moved, self.record.default_reduction, where, arrays, sample_weight)
            slope += np.longdouble(weight) * value / step
        return slope

    def with_garbage(self, arrays: Any, where: np.ndarray, dtype: Any) -> list[np.ndarray]:
        """The arrays, with what must never count under the mask."""
        spoilt = []
        for position, (array, garbage) in enumerate(zip(arrays, self.record.garbage, strict=True)):
            array = array.astype(array.dtype if array.dtype.kind == "i" else dtype)
            if position not in self.record.shared:
                hidden = ~self.elements(where, position, array.shape)
                array[hidden] = np.resize(np.asarray(garbage).astype(array.dtype), hidden.sum() + position)[position:]
            spoilt.append(array)
        return spoilt

    @property
    def inner(self) -> tuple[int, ...]:
        """How many axes of each array belong to one loss, or to one element of a set."""
        with_classes = "class_axis" in self.options and self.record.inner_with_classes
        return with_classes or self.record.inner

    def elements(self, where: np.ndarray, position: int, shape: tuple[int, ...]) -> np.ndarray:
        """A mask of losses as a mask of the elements of an array; what a row of losses shares counts if one does."""
        inner = self.inner[position]
        if not inner and shape != where.shape:
            where = np.any(where, -1, keepdims=len(shape) == where.ndim)
        classes = "axis" if self.record.class_axis else "class_axis"
        axis = (self.options[classes],) if inner and classes in self.options else tuple(range(-inner, 0))
        return np.broadcast_to(np.expand_dims(where, axis), shape)


def as_elsewhere(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The loss, traced without what is for CPUs alone."""

    @functools.wraps(loss)
    def call(*args: Any, **options: Any) -> jax.Array:
        xla.ELSEWHERE = True
        try:
            return loss(*args, **options)
        finally:
            xla.ELSEWHERE = False

    return call


EVERY = [
    Case(record, options, f"{record.name}-{'-'.join(options) or 'default'}")
    for record in TABLE
    for options in record.variants
]
FIRST = [case for case in EVERY if case.options is case.record.variants[0]]
CASES = EVERY if THOROUGH else FIRST
# The first loss of each family.
ONE_A_FAMILY = list({case.record.loss.__module__: case for case in reversed(FIRST)}.values())[::-1]
# Who stands for the others: by default one loss a family, in thorough tests one of those that share their code.
DISTINCT = [case for case in FIRST if not case.record.like]
REPRESENTATIVES = DISTINCT if THOROUGH else ONE_A_FAMILY
# What of all options differs least: derivatives of second order, half precision, layouts, what is traced alone.
SOME = REPRESENTATIVES + [case for case in EVERY if case not in FIRST and not case.record.like][::12] * THOROUGH
FIRST_AND_SOME = FIRST + [case for case in SOME if case not in FIRST]
ELSEWHERE = [
    dataclasses.replace(case, name=f"{case.name}-elsewhere", elsewhere=True) for case in FIRST if case.record.two_ways
]
# For what lies in the code that all losses share: by default of every third family, in thorough tests of every family,
# and every sixth of the other losses too.
WITH_OTHERS = [case for at, case in enumerate(DISTINCT) if case in ONE_A_FAMILY or at % 6 == 0]
FAMILIES = WITH_OTHERS if THOROUGH else ONE_A_FAMILY[::3]


def extended(array: np.ndarray) -> np.ndarray:
    return array.astype(np.longdouble) if array.dtype.kind == "f" else array


def as_option(value: Any) -> Any:
    is_array = isinstance(value, list) and not all(isinstance(entry, int) for entry in value)
    return jnp.asarray(value, float) if is_array else value


def as_arrays(arrays: Any, dtype: Any) -> list[jax.Array]:
    """Floats in the dtype, integers as they are."""
    arrays = [np.asarray(array) for array in arrays]
    return [jnp.asarray(array, dtype if array.dtype.kind == "f" else None) for array in arrays]


def reductions(case: Case) -> list[str]:
    return sorted({"none", "sum", "mean", case.record.default_reduction})


def values_and_gradients(
    case: Case, arrays: Any, where: Any = None, optimised: bool = False, **more: Any
) -> tuple[dict[str, Any], Any]:
    """The loss under each reduction, and the gradients of the default one, from one compilation.

    Which all tests share that call it with the same case, shapes and dtypes. Gradients with respect to what more is
    given come last. Each reduction is taken of `FAMILIES`, else the default one and "none": what the others do
    depends neither on the dtype nor on the loss. Thorough tests take them of the first variant of each loss,
    in float64 where nothing is masked.
    """
    return _program(case, optimised)(tuple(arrays), where, more)


@functools.cache
def _program(case: Case, optimised: bool) -> Callable[..., Any]:
    def compute(arrays: Any, where: Any, more: Any) -> Any:
        def loss(*args: Any, **options: Any) -> jax.Array:
            options |= zip(more, args[len(arrays) :], strict=True)
            return case.loss()(*args[: len(arrays)], where=where, **options)

        args = *arrays, *more.values()
        wanted = *case.record.differentiable, *range(len(arrays), len(args))
        value, gradients = jax.value_and_grad(loss, wanted)(*args)
        plain = THOROUGH and case in FIRST and where is None and arrays[0].dtype == "float64"
        every = plain or case in FAMILIES
        others = reductions(case) if every else ["none"]
        values = {name: loss(*args, reduction=name) for name in others if name != case.record.default_reduction}
        return values | {case.record.default_reduction: value}, gradients

    return jax.jit(compute, compiler_options=OPTIMISED if optimised else None)


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Relative to each entry, and to the largest."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    scale = np.max(np.abs(expected), initial=0, where=np.isfinite(expected)) or 1.0
    np.testing.assert_allclose(actual, expected.astype(np.float64), rtol=tolerance, atol=tolerance * float(scale))
