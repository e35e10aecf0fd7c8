"""A dense layer and the cross-entropy of its logits, which never exist all at once.

`layer`: the formula, of arrays. `layout`: blocks, and where they lie on a mesh. `fused`: the sum with its gradient, by
one of two algorithms, `by_tokens` and `by_classes`.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.export import is_symbolic_dim

from jaxloss._call import Call
from jaxloss._kernels.linear_cross_entropy.fused import sum_over_blocks
from jaxloss._kernels.linear_cross_entropy.layer import Layer, Options
from jaxloss._kernels.linear_cross_entropy.layout import (
    blocks_of_classes,
    blocks_of_tokens,
    has_blocks_of_classes,
    in_blocks,
    in_lanes,
    lanes_of,
    side_by_side,
    with_whole_features,
)
from jaxloss._kernels.linear_cross_entropy.loops import loss_of_each_token
from jaxloss._numerics.labels import take_per_class


def linear_cross_entropy_in_blocks(
    call: Call,
    pred: Array,
    kernel: Array,
    target: Array,
    options: Options,
    chunk_size: int | None,
    precision: Any,
) -> Array:
    """The reduced loss: by blocks of tokens or of classes, or as a whole where one block would do."""
    if options.softcap is not None and not isinstance(options.softcap, Array) and math.isinf(options.softcap):
        options = options._replace(softcap=None)
    classes, dtype = kernel.shape[1], options.bias.dtype
    # Arrays are differentiated; a number that Python knows to be 0 costs nothing.
    arrays = {name: value for name, value in options._asdict().items() if isinstance(value, Array)}
    layer = Layer(options._replace(**dict.fromkeys(arrays)), classes, dtype, precision)
    pred, kernel, arrays = with_whole_features(pred, kernel, arrays)
    weight = arrays.get("weight")

    lanes, sharding = lanes_of(pred)
    blocks, size = blocks_of_tokens(target.size // lanes, chunk_size)
    if not is_symbolic_dim(blocks) and blocks <= 1:
        product = layer.product(pred, kernel)
        losses = layer.losses(product, arrays, target)
        return call.reduce_labels(losses, target, weight, layer.holds_weights)

    tokens, counts = target.size // lanes, call.counts
    if counts is None and (is_symbolic_dim(tokens) or tokens % blocks):
        counts = jnp.ones(target.shape, bool)
    per_token = jax.tree.map(
        lambda array: in_blocks(array, target.ndim, lanes, blocks, size, sharding), (pred, target, counts)
    )
    share = functools.partial(in_lanes, lanes=lanes, sharding=sharding)
    if not call.is_mean and not call.is_sum:
        each = functools.partial(loss_of_each_token, layer.losses, layer)
        shared = jax.tree.map(share, (kernel, arrays))
        losses = side_by_side(lanes, each)(*shared, *per_token[:2]).reshape(lanes, size * blocks)[:, :tokens]
        losses = losses.reshape(lanes, -1, *target.shape[1:]).reshape(target.shape)
        return call.reduce_labels(losses, target, weight, layer.holds_weights)

    if lanes == 1 and has_blocks_of_classes(pred, kernel):
        layer = layer._replace(blocks_of_classes=blocks_of_classes(classes, blocks if chunk_size else None))
    if call.is_mean or call.count is not None:
        weights = jnp.ones(target.shape, dtype) if weight is None else take_per_class(weight, target)
        arrays["scale"] = call.scale_of_mean(weights)
    shared = jax.tree.map(share, (kernel, arrays))
    totals = side_by_side(lanes, functools.partial(sum_over_blocks, layer))(*shared, *per_token)
    return call.over_mesh(jnp.sum(totals))
