"""Shapes and dtypes, while tracing."""

import numbers
from collections.abc import Sequence
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxloss._contracts.arrays import as_signed, describe, require, saturated, single_precision
from jaxloss._contracts.values import Values


class Shapes(Values):
    """What the shape and the dtype of an array must be."""

    def array(self, name: str, value: Any) -> Array:
        is_array = isinstance(value, numbers.Number) or hasattr(value, "dtype") or hasattr(value, "__jax_array__")
        if not is_array:
            hint = f" Make it one: jnp.asarray({name})." if isinstance(value, Sequence) and value != str(value) else ""
            raise TypeError(f"{self.function}: `{name}` must be an array, got {type(value).__name__}.{hint}")
        return jnp.asarray(value)

    def require_shape(self, problem: str, array: Array, shape: Any, hint: str = "") -> None:
        """A shape in which None is any size, and `...` any number of axes."""
        problem = f"{self.function}: {problem}, got {describe(array)}. {hint}".rstrip()
        require(problem, chex.assert_shape, array, shape)

    def require_classes(self, problem: str, array: Array, axis: int, least: int = 1, hint: str = "") -> None:
        """Requires at least one class along an axis, or several."""
        problem = f"{self.function}: {problem}, got {describe(array)}. {hint}".rstrip()
        require(problem, chex.assert_axis_dimension_gteq, array, axis, least)

    def floats(self, hint: str = "", /, **arrays: Any) -> tuple[Array, ...]:
        """Floating arrays of one shape, that of the first; returned in float32 or better."""
        return tuple(map(single_precision, self.floats_as_given(hint, **arrays)))

    def floats_as_given(self, hint: str = "", /, **arrays: Any) -> tuple[Array, ...]:
        """The same, each in its own dtype: for a loss that casts as it reads."""
        checked = [self.array(name, value) for name, value in arrays.items()]
        shape, first = checked[0].shape, next(iter(arrays))
        for name, array in zip(arrays, checked, strict=True):
            needed, cast = f", of shape {shape} as `{first}`", hint or f"Cast it: {name}.astype(jnp.float32)."
            if name == first:
                needed, cast = "", f"Cast it: {name}.astype(jnp.float32)."
            problem = f"{self.function}: `{name}` must be floating{needed}, got {describe(array)}."
            require(f"{problem} {cast}", chex.assert_type, array, float)
            reshape = f"Reshape it: {name}.reshape({first}.shape)." if array.size == checked[0].size else hint
            require(f"{problem} {reshape or 'Losses do not broadcast.'}", chex.assert_shape, array, shape)
            self._given.setdefault(name, array.dtype)
        return tuple(checked)

    def floating(self, shapes: Sequence[tuple[int, ...]], hint: str = "", /, **arrays: Any) -> Array:
        """A floating array of one of the shapes; returned in float32 or better."""
        ((name, value),) = arrays.items()
        array = self.array(name, value)
        needed = " or ".join(map(str, dict.fromkeys(shapes)))
        problem = f"{self.function}: `{name}` must be floating, of shape {needed}, got {describe(array)}."
        require(f"{problem} Cast it: {name}.astype(jnp.float32).", chex.assert_type, array, float)
        shape = array.shape if array.shape in shapes else shapes[0]
        require(f"{problem} {hint or 'Losses do not broadcast.'}", chex.assert_shape, array, shape)
        return single_precision(array)

    def axis(self, axis: int, ndim: int, of: str = "pred", name: str = "axis") -> int:
        """A class axis, counted from the front."""
        if not isinstance(axis, int | np.integer) or not -ndim <= axis < ndim:
            raise ValueError(f"{self.function}: `{name}` must be an axis of `{of}`, which has {ndim}, got {axis!r}.")
        return int(axis) % ndim

    def axes(
        self, axes: int | Sequence[int] | None, ndim: int, of: str = "pred", name: str = "axis"
    ) -> tuple[int, ...]:
        """Axes to sum over, counted from the front; None is all of them."""
        if axes is None:
            return tuple(range(ndim))
        given = [axes] if isinstance(axes, int | np.integer) else axes
        checked = tuple(self.axis(axis, ndim, of, name) for axis in given)
        if len(set(checked)) < len(checked):
            raise ValueError(f"{self.function}: `{name}` must not name an axis twice, got {axes!r}.")
        return checked

    def not_swapped(self, *, pred: Any, target: Any) -> None:
        """Refuses labels in place of scores and scores in place of labels."""
        pred, target = self.array("pred", pred), self.array("target", target)
        if jnp.issubdtype(pred.dtype, jnp.integer) and jnp.issubdtype(target.dtype, jnp.floating):
            problem = (
                f"{self.function}: `pred` must be floating and `target` integer, got {describe(pred)} and "
                f"{describe(target)}. They are swapped: {self.function}(pred, target)."
            )
            require(problem, chex.assert_type, pred, float)

    def classes(self, axis: int, hint: str = "", **arrays: Any) -> tuple[Array, ...]:
        """Floating arrays of one shape that has a class axis, with at least one class."""
        return tuple(map(single_precision, self.classes_as_given(axis, hint, **arrays)))

    def classes_as_given(self, axis: int, hint: str = "", **arrays: Any) -> tuple[Array, ...]:
        """The same, in their own dtypes: for a loss that reads a few entries, and casts these."""
        first = next(iter(arrays))
        checked = self.floats_as_given(hint, **arrays)
        pred = checked[0]
        problem = f"{self.function}: `{first}` must have an axis of at least one class, got {describe(pred)}."
        require(problem, chex.assert_rank, pred, set(range(1, max(pred.ndim, 1) + 1)))
        require(problem, chex.assert_axis_dimension_gt, pred, self.axis(axis, pred.ndim), 0)
        return checked

    def class_indices(self, pred: Array, axis: int, target: Any, hint: str = "") -> Array:
        """Integer class indices of pred's shape without the class axis; returned signed."""
        target = self.array("target", saturated(target))
        shape = pred.shape[:axis] + pred.shape[axis + 1 :]
        others = [other for other in range(pred.ndim) if target.shape == pred.shape[:other] + pred.shape[other + 1 :]]
        if target.shape == shape:
            hint = "Cast it: target.astype(jnp.int32)."
        elif target.shape == (*shape, 1):
            hint = "Drop its last axis: target.squeeze(-1)."
        elif others:
            hint = f"If the classes of `pred` lie on axis {others[0]}, pass axis={others[0]}."
        elif target.shape != pred.shape:
            hint = "It must have the shape of `pred` without the class axis."
        return self.integers(shape, "class indices", target, hint)

    def integers(
        self, shape: tuple[int | str, ...], meaning: str, value: Any, hint: str, name: str = "target"
    ) -> Array:
        """Integers of a shape in which a word stands for any size; returned signed."""
        array = self.array(name, saturated(value))
        problem = (
            f"{self.function}: `{name}` must hold integer {meaning} of shape {shape}, got {describe(array)}. {hint}"
        )
        require(problem, chex.assert_type, array, int)
        require(problem, chex.assert_shape, array, tuple(None if isinstance(size, str) else size for size in shape))
        return as_signed(array)

    def rows(self, size: int | None, meaning: str, **arrays: Any) -> tuple[Array, ...]:
        """Floating arrays of one shape whose last axis holds a row: `size` numbers, or any number if None."""
        return tuple(map(single_precision, self.rows_as_given(size, meaning, **arrays)))

    def rows_as_given(self, size: int | None, meaning: str, **arrays: Any) -> tuple[Array, ...]:
        """The same, in their own dtypes."""
        checked = self.floats_as_given(**arrays)
        for name, array in zip(arrays, checked, strict=True):
            self.require_shape(f"`{name}` must have {meaning} on its last axis", array, (..., size))
        return checked

    def mask(self, shape: tuple[int, ...], of: str = "the unreduced loss", **options: Any) -> Array | None:
        """Booleans, broadcast to `shape`; None stays None and costs nothing."""
        ((name, value),) = options.items()
        if value is None:
            return None
        where = self.array(name, value)
        problem = (
            f"{self.function}: `{name}` must be boolean and broadcast to {shape}, the shape of {of}, "
            f"got {describe(where)}."
        )
        hint = f"Compare first: {name}={name} > 0."
        if jnp.issubdtype(where.dtype, jnp.floating):
            hint += " Numbers that weigh each loss are `sample_weight`."
        require(f"{problem} {hint}", chex.assert_type, where, bool)
        require(problem, chex.assert_is_broadcastable, where.shape, shape)
        return jnp.broadcast_to(where, shape)
