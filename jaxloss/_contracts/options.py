"""Options: numbers and arrays of numbers, each with its domain.

A Python number outside its domain is an error at once; a traced one becomes NaN, and value checks report it.
"""

import dataclasses
import functools
import numbers
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxloss._contracts.arrays import as_signed, describe, nan_outside, python_number, require, saturated
from jaxloss._contracts.shapes import Shapes
from jaxloss._contracts.values import lowest_and_highest
from jaxloss._numerics.shards import is_checked, varying_axes


@jax.tree_util.register_static
@dataclasses.dataclass(eq=False)
class Demands:
    """What a compiled program demands of the Python numbers among its arguments; it is returned along with the loss."""

    by_name: list[tuple[str, Callable[[Any], None]]] = dataclasses.field(default_factory=list)

    def check(self, given: Mapping[str, Any]) -> None:
        for name, demand in self.by_name:
            demand(python_number(given[name]))


@dataclasses.dataclass
class Number:
    """A Python number that a compiled program takes as an argument: while it is traced only its kind is known."""

    value: Any
    demands: Demands
    name: str

    def __jax_array__(self) -> Array:
        return jnp.asarray(self.value)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array that it becomes."""
        return jnp.shape(self.value)

    @property
    def dtype(self) -> Any:
        """The dtype of the array that it becomes."""
        return jnp.result_type(self.value)


numbers.Real.register(Number)


class Options(Shapes):
    """What an option must be."""

    def index(self, **options: Any) -> Any:
        """An option that is one integer; returned signed."""
        ((name, value),) = options.items()
        array = self.array(name, saturated(value))
        problem = f"{self.function}: `{name}` must be one integer, got {describe(array)}."
        require(problem, chex.assert_type, array, int)
        require(problem, chex.assert_shape, array, ())
        return as_signed(array)

    def positive(self, **options: Any) -> Array | float:
        return self.number(lambda value: value > 0, "greater than 0", options)

    def nonnegative(self, **options: Any) -> Array | float:
        return self.number(lambda value: value >= 0, "at least 0", options)

    def fraction(self, **options: Any) -> Array | float:
        return self.number(lambda value: (value >= 0) & (value <= 1), "in [0, 1]", options)

    def any_number(self, **options: Any) -> Array | float:
        return self.number(lambda value: value == value, "a number, not NaN", options)

    def number(self, inside: Callable[[Any], Any], domain: str, options: dict[str, Any]) -> Array | float:
        ((name, value),) = options.items()

        def demand(number: Any) -> None:
            if not inside(number):
                raise ValueError(f"{self.function}: `{name}` must be {domain}, got {number!r}.")

        if isinstance(value, Number):
            value.demands.by_name.append((value.name, demand))
            return jnp.asarray(value, self.dtype)
        value = python_number(value)
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            demand(value)
            return float(value)  # an integer has no tangent
        array = self.numeric(name, value)
        problem = f"{self.function}: `{name}` must be a number, {domain}, got {describe(array)}."
        require(problem, chex.assert_shape, array, ())
        holds = inside(array)
        self.check(holds, f"`{name}` must be {domain}, got {{value}}.", value=array)
        return nan_outside(holds, array, self.dtype)

    def factor(self, shape: tuple[int, ...], **options: Any) -> Array:
        """A factor: one number, or numbers that broadcast to `shape`, at least 0; NaN where negative."""
        ((name, value),) = options.items()
        array = self.numeric(name, value)
        problem = f"{self.function}: `{name}` must broadcast to {shape}, got {describe(array)}."
        require(problem, chex.assert_is_broadcastable, array.shape, shape)
        if array.ndim == 0:
            array = jnp.asarray(self.nonnegative(**options), self.dtype)
        else:
            lowest = lowest_and_highest(array)["lowest"]
            self.check(jnp.all(array >= 0), f"`{name}` must be at least 0, got {{lowest}}.", lowest=lowest)
            array = nan_outside(array >= 0, array, self.dtype)
        return jnp.broadcast_to(array, shape)

    def one_per_class(self, classes: int, **options: Any) -> Array:
        """An option with a number at least 0 for each class."""
        ((name, value),) = options.items()
        array = self.numeric(name, value)
        problem = f"{self.function}: `{name}` must have one number a class, shape ({classes},), got {describe(array)}."
        require(problem, chex.assert_shape, array, (classes,))
        return self.factor((classes,), **options)

    def precision(self, value: jax.lax.PrecisionLike) -> jax.lax.PrecisionLike:
        """How products are computed."""
        try:
            jax.eval_shape(functools.partial(jnp.dot, precision=value), jnp.ones(1), jnp.ones(1))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.function}: `precision` must be what jax.lax.dot takes, got {value!r}.") from error
        return value

    def chunk_size(self, value: int | None) -> int | None:
        """A positive Python integer, or None."""
        if value is None:
            return None
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value <= 0:
            raise ValueError(f"{self.function}: `chunk_size` must be a positive Python integer or None, got {value!r}.")
        return int(value)

    def mesh_axes(self, **options: Any) -> tuple[Hashable, ...] | None:
        """An option that names axes of the mesh, inside `shard_map`; None for none."""
        ((name, value),) = options.items()
        if value is None:
            return None
        names = tuple(value) if isinstance(value, list | tuple) else (value,)
        try:
            known = len(set(names)) == len(names) and jax.lax.axis_size(names) > 0
        except (NameError, TypeError):
            known = False
        if not known:
            raise ValueError(
                f"{self.function}: `{name}` must name axes of the mesh, each once, in jax.shard_map, got {value!r}. "
                "Outside of it leave it out: under jit a sharded array needs no name."
            )
        return names or None

    def parts(self, name: str, axes: tuple[Hashable, ...] | None, **arrays: Array) -> None:
        """Refuses arrays that are the same on each device along these axes, where JAX knows that (`check_vma`)."""
        if axes is None or not is_checked(axes):
            return
        for given, array in arrays.items():
            same = frozenset(axes) - varying_axes(array)
            problem = (
                f"{self.function}: `{given}` must hold another part on each device along `{name}`, got "
                f"{describe(array)}, the same along {', '.join(map(repr, sorted(same, key=str)))}. Shard it in "
                f"`in_specs` of shard_map, or leave `{name}` out."
            )
            require(problem, chex.assert_equal, same, frozenset())

    def numeric(self, name: str, value: Any) -> Array:
        array = self.array(name, value)
        problem = f"{self.function}: `{name}` must hold numbers, got {describe(array)}."
        require(problem, chex.assert_type, array, float if jnp.issubdtype(array.dtype, jnp.floating) else int)
        return array
