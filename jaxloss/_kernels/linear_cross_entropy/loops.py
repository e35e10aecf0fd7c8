"""What the algorithms share: the losses block by block, and loops that add up."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.export import is_symbolic_dim

from jaxloss._kernels.linear_cross_entropy.layer import Layer


def loss_of_each_token(
    losses: Callable[..., Array], layer: Layer, kernel: Array, arrays: Any, pred: Array, *others: Any
) -> Array:
    """Block by block; the backward pass computes the logits of a block again."""
    # The scan adds up the gradients of the blocks in the dtype of what it closes over.
    wide = kernel.astype(layer.dtype)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(_: None, block: Any) -> tuple[None, Array]:
        pred, *others = block
        product = layer.product(pred, wide.astype(kernel.dtype))
        return None, losses(product, arrays, *others)

    return jax.lax.scan(step, None, jax.tree.map(lambda array: jnp.moveaxis(array, 1, 0), (pred, *others)))[1].T


def finite(log_scale: Array) -> Array:
    return jnp.where(log_scale == -jnp.inf, 0.0, log_scale)


def zeros_like(array: Array, dtype: Any, zero: Array) -> Array:
    """What a loop adds to, on every device that `zero` lies on."""
    return jnp.zeros_like(array, dtype=dtype) + zero.astype(dtype)


def repeat(times: Any, step: Callable[[Array, Any], Any], state: Any) -> Any:
    """A scan where the number of steps is known: in a `while_loop` on an explicit mesh checkify of jax 0.12 fails."""
    times = jnp.asarray(times, jnp.int32) if is_symbolic_dim(times) else np.int32(times)
    return jax.lax.fori_loop(np.int32(0), times, step, state)
