"""Classes that lie on the axes of a mesh: which of them a device holds, and what the devices add up.

Inside `shard_map`. Where every device holds all classes, nothing here costs anything.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._typing import AxisName

# Before jax 0.12 the second derivative of a stack fails in `shard_map` where no gradient flows to one of its parts.
# There the sums are a collective each. Held by the tests of the large head on a mesh.
_SPLITS_WITHOUT_GRADIENT = jax.__version_info__ >= (0, 12)


class Shard(NamedTuple):
    """The classes of one device: all, or an even part of those that lie on the axes `axis_name`."""

    size: int
    axis_name: AxisName | None = None

    @property
    def total(self) -> int:
        """How many classes the devices hold together."""
        return self.size if self.axis_name is None else self.size * jax.lax.axis_size(self.axis_name)

    def local(self, index: Array) -> Array:
        """The index among the classes of this device; `size`, which is none of them, where another device has it."""
        if self.axis_name is None:
            return index
        local = index - self.size * jax.lax.axis_index(self.axis_name).astype(index.dtype)
        return jnp.where(local < 0, self.size, local)  # A negative one would count from the end.

    def indices(self) -> Array:
        """Of the classes of this device, among all."""
        first = 0 if self.axis_name is None else self.size * jax.lax.axis_index(self.axis_name)
        return first + jnp.arange(self.size)

    def own(self, values: Array, local: Array) -> Array:
        """The values where this device holds the class `local`, and 0 elsewhere: their sum is the owner's value."""
        return values if self.axis_name is None else jnp.where(local < self.size, values, 0.0)

    def sum(self, values: Array) -> Array:
        return sum_over(self.axis_name, values)[0]

    def sums(self, *values: Array) -> tuple[Array, ...]:
        """Of several arrays of one shape, in one collective."""
        return sum_over(self.axis_name, *values)

    def largest(self, values: Array) -> Array:
        """Held constant: JAX does not differentiate the maximum over a mesh (jax issue 7167)."""
        values = jax.lax.stop_gradient(values)
        return values if self.axis_name is None else jax.lax.pmax(values, self.axis_name)


def sum_over(axis_name: AxisName | None, *values: Array) -> tuple[Array, ...]:
    """The sums over devices of arrays of one shape, in one collective."""
    if axis_name is None:
        return values
    if len(values) == 1 or not _SPLITS_WITHOUT_GRADIENT:
        return tuple(jax.lax.psum(value, axis_name) for value in values)
    together = jax.lax.psum(jnp.stack(values), axis_name)
    return tuple(together[place] for place in range(len(values)))  # To unpack it is a split, which jax 0.8 fails on.


def any_over(axis_name: AxisName | None, holds: Array) -> Array:
    return holds if axis_name is None else jax.lax.pmax(holds.astype(jnp.int32), axis_name) > 0


def varying_axes(array: Array) -> frozenset[Any]:
    """The mesh axes along which an array differs from device to device; none where JAX does not check that."""
    kind = jax.typeof(array)
    return kind.vma if hasattr(kind, "vma") else kind.mat.varying  # The latter from jax 0.12 on.


def varying_together(arrays: Any) -> Any:
    """Each as one of its own on every device on which one of them is, as loops demand."""
    axes = frozenset[Any]().union(*map(varying_axes, jax.tree.leaves(arrays)))
    return jax.tree.map(functools.partial(varying_over, axes), arrays)


def varying_over(axes: frozenset[Any], array: Array) -> Array:
    missing = axes - varying_axes(array)
    # In the order of the mesh: that of a set differs from process to process, and what sums a gradient over the axes
    # would be another program in each of them.
    missing = tuple(name for name in jax.sharding.get_abstract_mesh().axis_names if name in missing)
    if not missing:
        return array
    if hasattr(jax.lax, "pcast"):
        return jax.lax.pcast(array, missing, to="varying")
    return jax.lax.pvary(array, missing)  # pyright: ignore[reportAttributeAccessIssue] the name of jax 0.8


def is_checked(axis_name: AxisName) -> bool:
    """Whether JAX checks what varies along an axis: `check_vma` of `shard_map`."""
    return bool(varying_axes(jnp.asarray(jax.lax.axis_index(axis_name))))
