"""Entmax: the distribution p_i = max(0, (a - 1) x_i - t)^(1 / (a - 1)), with the threshold t at which they sum to 1.

With a = 2 it is the sparsemax (arXiv:1602.02068), with a = 1.5 the entmax of arXiv:1905.05702. Logits far below the
largest have a probability of exactly 0. A row is its largest logit and its threshold: from these each probability is
made again where it is needed, and none is stored.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from jaxloss._numerics.labels import is_class, one_hot, take_label_unchecked
from jaxloss._numerics.safe import nan_unless
from jaxloss._numerics.xla import prevent_cse, stay_in_loop


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def entmax_loss(logits: Array, index: Array, axis: int, power: int) -> Array:
    """The Fenchel-Young loss of class indices, from the roots r = max(0, x - t) of p = r^power, with power 1 or 2.

    With a power of 1 it is half the sum of r_i^2 over the other classes and of (1 - r_y)^2, with 2 it is 2/3 of the sum
    of r_i^3 and of (1 - r_y)^2 (2 + r_y); and a y below the threshold costs how far it is below. No term is negative.
    1 - r_y is made of the others, so that it has digits of its own.
    """
    return _loss(logits, index, axis, power, _rows(logits, axis, power))


@entmax_loss.defjvp
def _entmax_loss_jvp(axis: int, power: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """p - e_y, which is made of the logits again."""
    (logits, index), (tangent, _) = primals, tangents
    again = prevent_cse(logits)
    rows = _rows(logits, axis, power)
    is_label = one_hot(index, logits.shape[axis], axis)
    p = _probabilities(again, axis, power, rows)
    rest = jnp.sum(jnp.where(is_label, 0.0, p), axis, keepdims=True)
    valid = jnp.expand_dims(nan_unless(is_class(index, logits.shape[axis])), axis)
    slopes = jnp.where(is_label, -rest * valid, p * valid)
    return entmax_loss(logits, index, axis, power), jnp.sum(slopes * _single(tangent), axis)


def _rows(logits: Array, axis: int, power: int) -> tuple[Array, Array]:
    """The largest logit of each row, and its threshold below that; neither is differentiated."""
    logits = jax.lax.stop_gradient(logits)
    largest = _single(logits.max(axis, keepdims=True))
    return largest, _threshold(axis, power)(logits, largest)


def _single(logits: Array) -> Array:
    """In float32 or better."""
    return logits.astype(jnp.float32) if logits.dtype.itemsize < 4 else logits


def _below(logits: Array, largest: Array, power: int) -> Array:
    """(a - 1) times how far logits are below the largest."""
    logits = _single(logits)
    is_top = logits == jnp.inf
    return jnp.where(is_top, 0.0, jnp.where(is_top, 0.0, logits) - largest) / power


@functools.cache
def _threshold(axis: int, power: int) -> Callable[[Array, Array], Array]:
    """A function of logits and their largest, held constant.

    Under `vmap` it is one loop over more rows. The loop that JAX would make of it, which ends for each row on its own,
    is refused by checkify.
    """

    @custom_vmap
    def loop(logits: Array, largest: Array) -> Array:
        return _newton(logits, largest, axis, power)

    @loop.def_vmap
    def mapped(size: int, is_mapped: Any, *arrays: Array) -> tuple[Array, bool]:
        given = zip(arrays, is_mapped, strict=True)
        rows = (array if there else jnp.broadcast_to(array, (size, *array.shape)) for array, there in given)
        return _threshold(axis + 1 if axis >= 0 else axis, power)(*rows), True

    threshold = jax.custom_jvp(loop)

    @threshold.defjvp
    def constant(primals: Any, tangents: Any) -> tuple[Array, Array]:
        found = threshold(*primals)
        return found, jnp.zeros_like(found)

    return threshold


def _newton(logits: Array, largest: Array, axis: int, power: int) -> Array:
    """By Newton's method from -1: the sum is convex in t, so that t rises to its place and never beyond.

    A row is done when its step is lost in rounding. Each step reads the logits; nothing of their size is carried along.
    """
    eps = jnp.finfo(largest.dtype).eps

    def step(threshold: Array) -> Array:
        roots = jnp.maximum(_below(stay_in_loop(logits, -threshold), largest, power) - threshold, 0.0)
        slope = jnp.sum((roots > 0).astype(roots.dtype) if power == 1 else power * roots, axis, keepdims=True)
        return (jnp.sum(roots**power, axis, keepdims=True) - 1) / jnp.maximum(slope, 1.0)

    def go_on(state: tuple[Array, Array]) -> Array:
        return jnp.any(state[1] > eps)

    def advance(state: tuple[Array, Array]) -> tuple[Array, Array]:
        threshold = state[0] + state[1]
        return threshold, step(threshold)

    start = jnp.where(jnp.isnan(largest), largest, -1.0)
    threshold, last = jax.lax.while_loop(go_on, advance, (start, step(start)))
    return jnp.minimum(threshold + last, 0.0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _probabilities(logits: Array, axis: int, power: int, rows: tuple[Array, Array]) -> Array:
    largest, threshold = rows
    return jnp.maximum(_below(logits, largest, power) - threshold, 0.0) ** power


@_probabilities.defjvp
def _probabilities_jvp(axis: int, power: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """With s = r^(power - 1): s_i dx_i less its mean under s, on the support."""
    logits, rows = primals
    p = _probabilities(logits, axis, power, rows)
    weights = (p > 0).astype(p.dtype) if power == 1 else jnp.sqrt(p)
    moved = jnp.where(p > 0, _single(tangents[0]), 0.0)
    mean = jnp.sum(weights * moved, axis, keepdims=True) / jnp.sum(weights, axis, keepdims=True)
    return p, weights * (moved - mean)


def _loss(logits: Array, index: Array, axis: int, power: int, rows: tuple[Array, Array]) -> Array:
    largest, threshold = rows
    roots = jnp.maximum(_below(logits, largest, power) - threshold, 0.0)
    others = jnp.where(one_hot(index, logits.shape[axis], axis), 0.0, roots)
    rest, more = jnp.sum(others**power, axis), jnp.sum(others ** (power + 1), axis)
    own = _below(jnp.expand_dims(take_label_unchecked(logits, index, axis), axis), largest, power) - threshold
    own = jnp.squeeze(own, axis)
    root = jnp.maximum(own, 0.0)
    missing = rest if power == 1 else rest / (1 + root)
    loss = (more + missing**2) / 2 if power == 1 else (more + missing**2 * (2 + root)) * (2 / 3)
    return (loss + power * jnp.maximum(-own, 0.0)) * nan_unless(is_class(index, logits.shape[axis]))
