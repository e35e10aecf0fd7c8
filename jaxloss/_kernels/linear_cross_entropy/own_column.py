"""What a row has in common with the column of its label alone, computed from these two."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from jaxloss._contracts.arrays import single_precision
from jaxloss._kernels.linear_cross_entropy.layer import Layer
from jaxloss._numerics.angles import angle


def own_sine(layer: Layer, kernel: Array, pred: Array, target: Array) -> Array:
    """The sine of the angle between each row and the column of its label, of the shape of the labels; a constant.

    From the vectors, and not from their cosine: next to an angle of 0 that has but half the digits.
    """
    kernel, pred = jax.lax.stop_gradient((kernel, pred))
    local, layout = functools.partial(_own_sine, layer), layer.layout
    if layout is None:
        return local(kernel, pred, target)
    specs = layout.specs(kernel, {}, pred, target)
    in_specs, out_specs = (specs[0], *specs[2:]), P(*layout.batch)
    return jax.shard_map(local, mesh=layout.mesh, in_specs=in_specs, out_specs=out_specs)(kernel, pred, target)


def _own_sine(layer: Layer, kernel: Array, pred: Array, target: Array) -> Array:
    index = layer.shard.local(target).reshape(-1)
    columns = single_precision(_columns(layer, kernel, index))
    apart = angle(pred.reshape(*columns.shape), columns, 0.0).apart
    sine = jnp.sqrt(jnp.maximum(apart * (2 - apart), 0.0))
    return layer.shard.sum(layer.shard.own(sine, index)).reshape(target.shape)


def _columns(layer: Layer, kernel: Array, index: Array) -> Array:
    """As rows; those of labels that this device does not have are any. Features that lie on a mesh come together."""
    axes = layer.feature_axis_name
    if axes is None:
        return jnp.take(kernel.T, index, 0, mode="clip")
    parts = jnp.take(kernel.T, jax.lax.all_gather(index, axes, tiled=True), 0, mode="clip")
    return jax.lax.all_to_all(parts, axes, split_axis=0, concat_axis=1, tiled=True)
