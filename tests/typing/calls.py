# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Calls as users write them, for type checkers: what they must accept, and behind a comment what they must refuse.

It runs too: each accepted call is right.
"""

import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

import jaxloss

FLOATS = jnp.float32(np.ones((2, 3)))
LABELS = jnp.int32(np.zeros(2))
PARAMETER = nnx.Param(FLOATS)


def largest(values: Array, weights: Array) -> Array:
    return jnp.max(jnp.where(weights > 0, values, -jnp.inf))


def accepted() -> list[Array]:
    return [
        jaxloss.mse_loss(PARAMETER, FLOATS),
        jaxloss.huber_loss(FLOATS, np.zeros((2, 3), np.float32), delta=nnx.Param(jnp.float32(1.0))),
        jaxloss.cross_entropy(PARAMETER, np.zeros(2, int), weight=nnx.Param(FLOATS[0]), reduction="sum"),
        jaxloss.cross_entropy(FLOATS, LABELS, where=np.array([True, False]), reduction="none"),
        jaxloss.linear_cross_entropy(FLOATS, nnx.Param(FLOATS.T), LABELS % 2, bias=nnx.Param(FLOATS[:, 0])),
        jaxloss.kl_div(FLOATS, FLOATS, reduction="batchmean"),
        jaxloss.mse_loss(FLOATS, FLOATS, reduction=largest),
        jaxloss.mse_loss(FLOATS, FLOATS, reduction=jaxloss.reductions.mean),
        jaxloss.mse_loss(FLOATS, FLOATS, reduction=functools.partial(jaxloss.reductions.mean, axis_name=None)),
    ]


def refused() -> None:
    jaxloss.mse_loss(FLOATS, FLOATS, reduction="avg")  # pyright: ignore[reportArgumentType]
    jaxloss.mse_loss(FLOATS, FLOATS, reduction="batchmean")  # pyright: ignore[reportArgumentType]
    jaxloss.mse_loss(FLOATS, FLOATS, reduction=None)  # pyright: ignore[reportArgumentType]
    jaxloss.mse_loss([1.0], FLOATS)  # pyright: ignore[reportArgumentType]
    jaxloss.mse_loss(FLOATS, FLOATS, None)  # pyright: ignore[reportCallIssue]
