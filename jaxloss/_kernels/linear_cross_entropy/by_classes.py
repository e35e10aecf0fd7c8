"""Value and gradient by blocks of classes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._kernels.linear_cross_entropy.layer import Layer, along_last
from jaxloss._kernels.linear_cross_entropy.loops import finite, repeat, zeros_like
from jaxloss._numerics.cross_entropy import all_zero
from jaxloss._numerics.safe import safe_multiply


def value_and_gradients_by_classes(
    layer: Layer, kernel: Array, arrays: Any, pred: Array, weights: Any, target: Array, keep: Any, zero: Array
) -> tuple[Array, Any]:
    """Four products a block of classes: the logits twice, but nothing of the kernel's size in a wider dtype.

    A loss depends on the logits of its token by three sums: the label's logit alone, the exponentials of the others,
    and the weighted logits that smoothing spreads. The first pass over the classes adds these up, the second gives the
    gradients through them.
    """
    classes, blocks, dtype = layer.classes, layer.blocks_of_classes, layer.dtype
    size = -(-classes // blocks)
    tokens, label = pred.reshape(target.size, pred.shape[-1]), target.reshape(-1, 1)
    # Inside the loop XLA:CPU would take the transpose into the product, too late to see that it has none such.
    transposed = tokens.T

    def part(block: Array) -> Any:
        first = jnp.minimum(block * size, classes - size)
        take = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=size, axis=-1)
        put = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=first, axis=-1)
        columns, index = take(kernel), (first + jnp.arange(size, dtype=first.dtype))[None]
        some = {name: take(array) if array.ndim else array for name, array in arrays.items()}
        product = layer.product(tokens, columns)
        return take, put, columns, product, some, (label == index.astype(label.dtype), index >= block * size)

    def sums_of_part(product: Array, some: Any, marks: Any, log_scale: Array) -> Any:
        is_label, is_new = marks  # The last block begins with classes of the one before.
        logits = layer.logits(product, some)
        others = jnp.exp(jnp.where(is_label | ~is_new, -jnp.inf, logits) - finite(log_scale)[:, None])
        weighted = jnp.zeros_like(logits[:, :0])
        if not all_zero(layer.numbers.smoothing):
            share = is_new.astype(dtype)
            weighted = safe_multiply(along_last(some["weight"], logits) * share if "weight" in some else share, logits)
        return jnp.where(is_label & is_new, logits, 0.0).sum(-1), others.sum(-1), weighted.sum(-1)

    def add_sums(block: Array, state: Any) -> Any:
        largest, (own, others, weighted) = state
        *_, product, some, marks = part(block)
        seen = jnp.where(marks[0], -jnp.inf, layer.logits(product, some)).max(-1)
        grown = jnp.maximum(largest, seen)
        more = sums_of_part(product, some, marks, grown)
        return grown, (own + more[0], others * jnp.exp(largest - finite(grown)) + more[1], weighted + more[2])

    def add_gradients(block: Array, gradients: Any) -> Any:
        kernel_gradient, array_gradients, pred_gradient = gradients
        take, put, columns, product, some, marks = part(block)

        def share(product: Array, some: Any) -> Array:
            return jnp.sum(jnp.stack(sum_gradients) * jnp.stack(sums_of_part(product, some, marks, log_others)))

        def add(total: Array, gradient: Array) -> Array:
            return put(total, take(total) + gradient) if gradient.ndim else total + gradient

        gradient, some_gradients = jax.grad(share, (0, 1))(product, some)
        gradient = gradient.astype(kernel.dtype)
        kernel_part = layer.product(transposed, gradient).astype(kernel.dtype)
        pred_part = jax.lax.dot_general(
            gradient, columns, (((1,), (1,)), ((), ())), precision=layer.precision, preferred_element_type=dtype
        )
        return (
            add(kernel_gradient, kernel_part),
            jax.tree.map(add, array_gradients, some_gradients),
            pred_gradient + pred_part,
        )

    each = zeros_like(label[:, 0], dtype, zero)
    largest, (own, others, weighted) = repeat(blocks, add_sums, (each - jnp.inf, (each, each, each)))
    log_others = largest + jnp.log(jnp.where(largest == -jnp.inf, 1.0, others))

    def sum_of_sums(sums: Any, arrays: Any, weights: Any) -> Array:
        counts = keep if weights is None else weights
        return layer.sum_of_sums(sums, arrays, label[:, 0], None if counts is None else counts.reshape(-1))

    value_and_gradients = jax.value_and_grad(sum_of_sums, (0, 1, 2))
    total, gradients = value_and_gradients((own, log_others, weighted), arrays, weights)
    sum_gradients, array_gradients, weight_gradient = gradients
    gradients = zeros_like(kernel, kernel.dtype, zero), array_gradients, zeros_like(tokens, dtype, zero)
    gradients = repeat(blocks, add_gradients, gradients)
    return total, (*gradients[:2], gradients[2].reshape(pred.shape), weight_gradient)
