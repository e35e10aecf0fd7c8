"""The sum of the losses by blocks of tokens, whose gradient is formed together with its value: no logits are kept."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.export import is_symbolic_dim
from jax.sharding import PartitionSpec as P

from jaxloss._kernels.linear_cross_entropy.by_tokens import value_and_gradients_by_tokens
from jaxloss._kernels.linear_cross_entropy.layer import Layer
from jaxloss._kernels.linear_cross_entropy.layout import (
    blocks_of_tokens,
    in_blocks,
    in_lanes,
    out_of_blocks,
    side_by_side,
)
from jaxloss._kernels.linear_cross_entropy.loops import loss_of_each_token
from jaxloss._numerics.passes import opaque
from jaxloss._numerics.shards import sum_over, varying_together


class How(NamedTuple):
    """What Python knows."""

    layer: Layer
    chunk_size: int | None
    lanes: int

    def blocked(self, kernel: Array, arrays: Any, pred: Array, weights: Any, constants: Any) -> Any:
        """Tokens in blocks, and what they share."""
        target, keep = constants
        tokens = target.size // self.lanes
        blocks, size = blocks_of_tokens(tokens, self.chunk_size)
        if weights is None and keep is None and (is_symbolic_dim(tokens) or tokens % blocks):
            keep = jnp.ones(target.shape, bool)
        cut = functools.partial(in_blocks, batch_ndim=target.ndim, lanes=self.lanes, blocks=blocks, size=size)
        shared = jax.tree.map(functools.partial(in_lanes, lanes=self.lanes), (kernel, arrays))
        return *shared, *jax.tree.map(cut, (pred, weights, target, keep))


def sum_by_tokens(how: How, kernel: Array, arrays: Any, pred: Array, target: Array, counts: Any) -> Array:
    """`counts` say which tokens count, as booleans, or how much, as numbers, which are differentiated too."""
    is_mask = counts is not None and counts.dtype == bool
    keep, weights = (counts, None) if is_mask else (None, counts)
    arguments = kernel, arrays, pred, weights, (target, keep)
    if how.layer.layout is None:
        arguments = varying_together((how.layer.whole(kernel), *arguments[1:]))
    return _fused_sum(how, *arguments)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _fused_sum(how: How, *arguments: Any) -> Array:
    total = functools.partial(_sum, how)
    return opaque(total, total, *arguments)


def _fused_sum_jvp(how: How, primals: Any, tangents: Any) -> tuple[Array, Array]:
    together = functools.partial(_value_and_gradients, how), functools.partial(_definition_of_gradients, how)
    value, gradients = opaque(*together, *primals)
    is_zero = lambda leaf: isinstance(leaf, SymbolicZero)  # noqa: E731
    pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(tangents[:4], is_leaf=is_zero), strict=True)
    dtype = how.layer.dtype
    terms = [jnp.sum(gradient.astype(dtype) * dot.astype(dtype)) for gradient, dot in pairs if not is_zero(dot)]
    return value, sum(terms, jnp.zeros_like(value))


_fused_sum.defjvp(_fused_sum_jvp, symbolic_zeros=True)


def _sum(how: How, kernel: Array, arrays: Any, pred: Array, weights: Any, constants: Any) -> Array:
    """The sum of `block_sum(pred @ kernel, ...)`, as JAX would differentiate it."""

    def local(*arguments: Any) -> Array:
        kernel, arrays, pred, weights, target, keep = how.blocked(*varying_together(arguments))
        counts = keep if weights is None else weights
        losses = functools.partial(loss_of_each_token, how.layer.block_sum, how.layer)
        return jnp.sum(side_by_side(how.lanes, losses)(kernel, arrays, pred, target, counts))

    layout = how.layer.layout
    if layout is None:
        return local(kernel, arrays, pred, weights, constants)

    def on_device(kernel: Array, arrays: Any, pred: Array, per_token: Any) -> Array:
        return jax.lax.psum(local(how.layer.whole(kernel), arrays, pred, *per_token), layout.tokens)

    per_token = weights, constants
    specs = layout.specs(kernel, arrays, pred, per_token)
    return jax.shard_map(on_device, mesh=layout.mesh, in_specs=specs, out_specs=P())(kernel, arrays, pred, per_token)


def _value_and_gradients(how: How, kernel: Array, arrays: Any, pred: Array, weights: Any, constants: Any) -> Any:
    def local(*arguments: Any) -> Any:
        arguments = varying_together(arguments)
        *head, target, keep = how.blocked(*arguments)
        # 0, on every device that these lie on: what is added to it lies there too.
        zero = 0 * (target[:, 0, 0] + jnp.any(head[2][:, 0, 0] > 0, -1).astype(target.dtype))
        step = functools.partial(value_and_gradients_by_tokens, how.layer)
        totals, (*shared, pred, weights) = side_by_side(how.lanes, step)(*head, target, keep, zero)
        whole = functools.partial(out_of_blocks, shape=arguments[4][0].shape)
        return jnp.sum(totals), (*jax.tree.map(lambda each: each.sum(0), shared), *jax.tree.map(whole, (pred, weights)))

    layout = how.layer.layout
    if layout is None:
        return local(kernel, arrays, pred, weights, constants)

    def on_device(part: Array, arrays: Any, pred: Array, per_token: Any) -> Any:
        total, (kernel, arrays, *others) = local(how.layer.whole(part), arrays, pred, *per_token)
        replicas = tuple(name for name in layout.tokens if name not in layout.features)
        if layout.features:
            kernel = jax.lax.psum_scatter(kernel, layout.features, scatter_dimension=0, tiled=True)
        kernel = sum_over(replicas or None, kernel)[0]
        return jax.lax.psum(total, layout.tokens), (kernel, jax.lax.psum(arrays, layout.tokens), *others)

    specs = layout.specs(kernel, arrays, pred, (weights, constants))
    out_specs = P(), (*specs[:3], specs[3][0])
    on_mesh = jax.shard_map(on_device, mesh=layout.mesh, in_specs=specs, out_specs=out_specs)
    return on_mesh(kernel, arrays, pred, (weights, constants))


def _definition_of_gradients(how: How, *arguments: Any) -> Any:
    total = functools.partial(_sum, how)
    value, gradients = jax.value_and_grad(total, (0, 1, 2, 3))(*arguments)
    return value, jax.tree.map(lambda gradient: gradient.astype(how.layer.dtype), gradients)
