"""Class indices: one-hot masks and the entries that they name, NaN where an index names no class."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.safe import nan_unless
from jaxloss._numerics.shards import Shard
from jaxloss._typing import AxisName


def one_hot(index: Array, classes: int, axis: int) -> Array:
    """Booleans, True at the class `index` on a new axis; nowhere if it is out of range."""
    index = jnp.expand_dims(index, axis)
    axis %= index.ndim
    shape = (*index.shape[:axis], classes, *index.shape[axis + 1 :])
    return jax.lax.broadcasted_iota(index.dtype, shape, axis) == index


def is_class(index: Array, classes: int) -> Array:
    """Whether an index names a class."""
    return (index >= 0) & (index < classes)


def take_per_class(per_class: Array, index: Array, axis_name: AxisName | None = None) -> Array:
    """per_class[index], without a gather, which an explicitly sharded index would refuse; NaN out of range."""
    shard = Shard(per_class.shape[0], axis_name)
    chosen = one_hot(shard.local(index), shard.size, -1)
    each = jnp.broadcast_to(per_class, chosen.shape)
    return shard.sum(jnp.sum(jnp.where(chosen, each, 0.0), -1)) * nan_unless(is_class(index, shard.total))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def take_label(values: Array, index: Array, axis: int, axis_name: AxisName | None = None) -> Array:
    """The entry of each row at `index`; out of range it is NaN, and so is the derivative of the whole row.

    The derivative of an entry that is NaN is NaN.
    """
    shard = Shard(values.shape[axis], axis_name)
    local = shard.local(index)
    own = shard.sum(shard.own(take_label_unchecked(values, local, axis), local))
    return own * nan_unless(is_class(index, shard.total))


@take_label.defjvp
def _take_label_jvp(axis, axis_name, primals, tangents):
    values, index = primals
    shard = Shard(values.shape[axis], axis_name)
    own = take_label(values, index, axis, axis_name)
    valid = jnp.expand_dims(is_class(index, shard.total), axis)
    chosen = one_hot(shard.local(index), shard.size, axis) | ~valid
    # What holds for a row is multiplied into its sum: of the gradient's elements each is a select, and no more.
    factor = nan_unless(~jnp.isnan(own)).astype(values.dtype)
    return own, shard.sum(jnp.sum(jnp.where(chosen, tangents[0], 0.0), axis)) * factor


def take_label_unchecked(values: Array, index: Array, axis: int) -> Array:
    """The entry of each row at `index`, and if that is out of range, any."""
    if is_explicitly_sharded(values):
        return jnp.sum(jnp.where(one_hot(index, values.shape[axis], axis), values, 0.0), axis)
    return _by_rows(lambda row, place: row.at[place].get(mode="clip"), values, index, axis, False)


def zero_label(values: Array, index: Array, axis: int) -> Array:
    """The values, with 0 at the entry `index` of each row."""
    if is_explicitly_sharded(values):
        return jnp.where(one_hot(index, values.shape[axis], axis), 0.0, values)
    return _by_rows(lambda row, place: row.at[place].set(0.0), values, index, axis, True)


def _by_rows(
    function: Callable[[Array, Array], Array], values: Array, index: Array, axis: int, keeps_axis: bool
) -> Array:
    """function(row, place) of all rows, by vmap, which leaves them where a mesh has them."""
    for batch_axis in reversed(range(index.ndim)):
        position = int(batch_axis >= axis % values.ndim)
        function = jax.vmap(function, (position, 0), position if keeps_axis else 0)
    return function(values, index)


def is_explicitly_sharded(array: Array) -> bool:
    """There JAX may not know the sharding of a gather or a scatter; it does of masks, which take more time."""
    return any(axis is not None for axis in jax.typeof(array).sharding.spec)
