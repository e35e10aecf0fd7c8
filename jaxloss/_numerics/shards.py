"""Classes that lie on the axes of a mesh: which of them a device holds, and what the devices add up.

Inside `shard_map`. Where every device holds all classes, nothing here costs anything.
"""

import functools
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

AxisName = Hashable | Sequence[Hashable]


class Shard(NamedTuple):
    """The classes of one device: all, or an even part of those that lie on the axes `axis_name`."""

    size: int
    axis_name: AxisName | None = None

    @property
    def total(self) -> int:
        """How many classes the devices hold together."""
        return self.size if self.axis_name is None else self.size * jax.lax.axis_size(self.axis_name)

    def local(self, index: Array) -> Array:
        """The index among the classes of this device; one that names none of them is out of range."""
        if self.axis_name is None:
            return index
        return index - self.size * jax.lax.axis_index(self.axis_name).astype(index.dtype)

    def sum(self, values: Array) -> Array:
        return values if self.axis_name is None else jax.lax.psum(values, self.axis_name)

    def largest(self, values: Array) -> Array:
        """Held constant: JAX does not differentiate the maximum over a mesh (jax issue 7167)."""
        values = jax.lax.stop_gradient(values)
        return values if self.axis_name is None else jax.lax.pmax(values, self.axis_name)


def varying_axes(array: Array) -> frozenset[Any]:
    """The mesh axes along which an array differs from device to device; none where JAX does not check that."""
    kind = jax.typeof(array)
    return kind.vma if hasattr(kind, "vma") else kind.mat.varying  # The latter from jax 0.12 on.


def varying_together(arrays: Any) -> Any:
    """Each as one of its own on every device on which one of them is, as loops demand."""
    axes = frozenset[Any]().union(*map(varying_axes, jax.tree.leaves(arrays)))
    return jax.tree.map(functools.partial(varying_over, axes), arrays)


def varying_over(axes: frozenset[Any], array: Array) -> Array:
    missing = tuple(axes - varying_axes(array))
    if not missing:
        return array
    if hasattr(jax.lax, "pcast"):
        return jax.lax.pcast(array, missing, to="varying")
    return jax.lax.pvary(array, missing)  # pyright: ignore[reportAttributeAccessIssue] the name of jax 0.8


def is_checked(axis_name: AxisName) -> bool:
    """Whether JAX checks what varies along an axis: `check_vma` of `shard_map`."""
    return bool(varying_axes(jnp.asarray(jax.lax.axis_index(axis_name))))
