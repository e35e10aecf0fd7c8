"""The sum of the losses, whose gradient is formed together with its value: no logits are kept."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from jaxloss._kernels.linear_cross_entropy.by_classes import value_and_gradients_by_classes
from jaxloss._kernels.linear_cross_entropy.by_tokens import value_and_gradients_by_tokens
from jaxloss._kernels.linear_cross_entropy.layer import Layer
from jaxloss._kernels.linear_cross_entropy.loops import loss_of_each_token
from jaxloss._numerics.shards import varying_together


def sum_over_blocks(layer: Layer, kernel: Array, arrays: Any, pred: Array, target: Array, counts: Any) -> Array:
    """`counts` say which tokens count, as booleans, or how much, as numbers, which are differentiated too."""
    kernel, arrays, pred, target, counts = varying_together((kernel, arrays, pred, target, counts))
    # 0, on every device that these lie on: what is added to it lies there too.
    zero = 0 * (target[0, 0] + jnp.any(pred[0, 0] > 0).astype(target.dtype))
    is_mask = counts is not None and counts.dtype == bool
    keep, weights = (counts, None) if is_mask else (None, counts)
    return _fused_sum(layer, kernel, arrays, pred, weights, (target, keep, zero))


def _sum_of_blocks(layer: Layer, kernel: Array, arrays: Any, pred: Array, weights: Any, constants: Any) -> Array:
    """The sum of `block_sum(pred @ kernel, ...)`, as JAX would differentiate it."""
    target, keep, _ = constants
    counts = keep if weights is None else weights
    return jnp.sum(loss_of_each_token(layer.block_sum, layer, kernel, arrays, pred, target, counts))


# The same with a gradient that is formed together with the value.
_fused_sum = jax.custom_jvp(_sum_of_blocks, nondiff_argnums=(0,))


def _fused_sum_jvp(layer: Layer, primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, gradients = _value_and_gradients(layer, *primals)
    is_zero = lambda leaf: isinstance(leaf, SymbolicZero)  # noqa: E731
    pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(tangents[:4], is_leaf=is_zero), strict=True)
    terms = [
        jnp.sum(gradient.astype(layer.dtype) * dot.astype(layer.dtype)) for gradient, dot in pairs if not is_zero(dot)
    ]
    return value, sum(terms, jnp.zeros_like(value))


_fused_sum.defjvp(_fused_sum_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _value_and_gradients(
    layer: Layer, kernel: Array, arrays: Any, pred: Array, weights: Any, constants: Any
) -> tuple[Array, Any]:
    function = value_and_gradients_by_classes if layer.blocks_of_classes else value_and_gradients_by_tokens
    return function(layer, kernel, arrays, pred, weights, *constants)


@_value_and_gradients.defjvp
def _value_and_gradients_jvp(layer: Layer, primals: Any, tangents: Any) -> Any:
    dtype = layer.dtype

    def definition(kernel: Array, arrays: Any, pred: Array, weights: Any) -> Any:
        total = functools.partial(_sum_of_blocks, layer, constants=primals[4])
        gradient = jax.value_and_grad(total, (0, 1, 2, 3))
        value, (kernel_gradient, *gradients) = gradient(kernel, arrays, pred, weights)
        kernel_gradient = kernel_gradient.astype(kernel.dtype if layer.blocks_of_classes else dtype)
        return value, (kernel_gradient, *jax.tree.map(lambda gradient: gradient.astype(dtype), gradients))

    return jax.jvp(definition, primals[:4], tangents[:4])
