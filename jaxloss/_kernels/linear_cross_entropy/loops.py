"""What the algorithms share: the losses block by block."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

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
