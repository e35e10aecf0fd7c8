"""Value and gradient by blocks of tokens."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._kernels.linear_cross_entropy.layer import Layer
from jaxloss._numerics.loops import repeat, zeros_like
from jaxloss._numerics.xla import by_platform, stay_in_loop


def value_and_gradients_by_tokens(
    layer: Layer, kernel: Array, arrays: Any, pred: Array, weights: Any, target: Array, keep: Any, zero: Array
) -> tuple[Array, Any]:
    """Three products a block: the logits, and of their gradient those of the features and of the kernel."""
    features, dtype = kernel.shape[0], layer.dtype
    blocks = pred.shape[1]
    rows = min(64, features)
    put = jax.lax.dynamic_update_index_in_dim

    def grown(kernel_sum: Array, x: Array, gradient: Array) -> Array:
        return kernel_sum + layer.product(x.T, gradient)

    def grown_by_rows(kernel_sum: Array, x: Array, gradient: Array) -> Array:
        """A few rows at a time: XLA:CPU would need a second gradient of the kernel to add to this one."""

        def grow(part: Array, kernel_sum: Array) -> Array:
            first = jnp.minimum(part * rows, features - rows)
            columns = jax.lax.dynamic_slice_in_dim(x, first, rows, 1)
            is_new = first + jnp.arange(rows, dtype=first.dtype) >= part * rows
            columns = jnp.where(is_new[None], columns, 0.0)  # The last rows begin with some that are added already.
            more = jax.lax.dynamic_slice_in_dim(kernel_sum, first, rows, 0) + layer.product(columns.T, gradient)
            return jax.lax.dynamic_update_slice_in_dim(kernel_sum, more, first, 0)

        return repeat(-(-features // max(rows, 1)), grow, kernel_sum)

    def step(block: Array, sums: Any) -> Any:
        totals, kernel_sum, array_sums, pred_gradient, weight_gradient = sums
        take = functools.partial(jax.lax.dynamic_index_in_dim, index=block, axis=1, keepdims=False)
        x, y, kept, counts = jax.tree.map(take, (pred, target, keep, weights))
        x = stay_in_loop(x, block)
        product = layer.product(x, kernel)

        def block_sum(product: Array, arrays: Any, counts: Any) -> Array:
            return layer.block_sum(product, arrays, y, kept if counts is None else counts)

        value, gradients = jax.value_and_grad(block_sum, (0, 1, 2))(product, arrays, counts)
        gradient, array_gradients, count_gradient = gradients
        x = x.astype(dtype)
        (x_gradient,) = jax.linear_transpose(lambda x: layer.product(x, kernel.astype(dtype)), x)(gradient)

        kernel_sum = by_platform(kernel_sum, x, gradient, cpu=grown_by_rows, elsewhere=grown)
        array_sums = jax.tree.map(jnp.add, array_sums, array_gradients)
        return (
            put(totals, value, block, 0),
            kernel_sum,
            array_sums,
            put(pred_gradient, x_gradient, block, 1),
            jax.tree.map(lambda whole, one: put(whole, one, block, 1), weight_gradient, count_gradient),
        )

    zeros = jax.tree.map(functools.partial(zeros_like, dtype=dtype, zero=zero), (kernel, arrays, pred, weights))
    # One sum of the totals at the end is closer than a running one.
    totals = jnp.zeros(blocks, dtype) + zero.astype(dtype)
    totals, *gradients = repeat(blocks, step, (totals, *zeros))
    return jnp.sum(totals), tuple(gradients)
