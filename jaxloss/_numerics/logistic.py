"""The sigmoid and the binary cross-entropy of logits x, where neither p = sigmoid(x) nor 1 - p loses its digits.

Everything is written in terms of exp(-|x|), which is never above 1, and of the target's share of the less likely of the
two classes: 1 - y where x > 0, y elsewhere.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.safe import safe_multiply


def exp_neg_abs(logits: Array) -> Array:
    """exp(-|x|)"""
    return jnp.exp(-_abs(logits))


def _abs(logits: Array) -> Array:
    """|x|, with the derivative -1 at 0, where `jnp.abs` has 0."""
    return jnp.where(logits > 0, logits, -logits)


def log1p_on_unit_interval(x: Array) -> Array:
    """log(1 + x) for x in [0, 1], as 2 artanh(x / (2 + x)), to float32's last places: most of the time goes here."""
    if x.dtype != jnp.float32:
        return jnp.log1p(x)
    twice = x * (1 / (1 + 0.5 * x))
    square = twice * twice
    series = 0.083332903 + square * (0.012507686 + square * (0.0021847780 + square * 0.00054995660))
    return twice + twice * (square * series)


def _log1p_exp_neg_abs(logits: Array) -> Array:
    return log1p_on_unit_interval(exp_neg_abs(logits))


@with_derivatives(jax.nn.sigmoid)
def softplus(x: Array) -> Array:
    """log(1 + exp(x))"""
    return jax.nn.relu(x) + _log1p_exp_neg_abs(x)


def sigmoid_derivative(logits: Array) -> Array:
    """p (1 - p)"""
    small = exp_neg_abs(logits)
    return small * jnp.square(1 / (1 + small))


@jax.custom_jvp
def sigmoid_and_rest(logits: Array) -> tuple[Array, Array]:
    """p and 1 - p, neither of which is lost next to the other."""
    small = exp_neg_abs(logits)
    likely = 1 / (1 + small)
    unlikely = small * likely
    return jnp.where(logits > 0, likely, unlikely), jnp.where(logits > 0, unlikely, likely)


@sigmoid_and_rest.defjvp
def _sigmoid_and_rest_jvp(primals: Any, tangents: Any) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    p, rest = sigmoid_and_rest(*primals)
    tangent = p * rest * tangents[0]
    return (p, rest), (tangent, -tangent)


@with_derivatives(
    lambda logits, others: -safe_multiply(sigmoid_derivative(logits), logits + others),
    lambda logits, others: jax.nn.sigmoid(-logits),
)
def entropy_with_others(logits: Array, others: Array) -> Array:
    """H(p) + (1 - p) H_others: of a class, by its log-odds, and others that have an entropy among themselves."""
    small = exp_neg_abs(logits)
    unlikely = safe_multiply(small / (1 + small), _abs(logits))
    return log1p_on_unit_interval(small) + unlikely + jax.nn.sigmoid(-logits) * others


def less_likely_target(logits: Array, target: Array, pos_weight: ArrayLike = 1.0) -> Array:
    """The target's share of the class that the logit says is less likely."""
    return jnp.where(logits > 0, 1 - target, pos_weight * target)


def bce_linear_part(logits: Array, target: Array, pos_weight: ArrayLike = 1.0) -> Array:
    """|x| times the target's share of the less likely class; 0 for an infinite logit that is right."""
    return safe_multiply(less_likely_target(logits, target, pos_weight), _abs(logits))


def one_minus_p_t(logits: Array, target: Array) -> Array:
    """y (1 - p) + (1 - y) p, where neither part is lost next to 1."""
    unlikely, small = less_likely_target(logits, target), exp_neg_abs(logits)
    return (unlikely + (1 - unlikely) * small) * (1 / (1 + small))


def bce_derivative(logits: Array, target: Array, pos_weight: ArrayLike = 1.0) -> Array:
    """(1 - y) p - w y (1 - p), where neither part is lost next to 1."""
    negative, positive, small = 1 - target, pos_weight * target, exp_neg_abs(logits)
    return jnp.where(logits > 0, negative - small * positive, small * negative - positive) / (1 + small)


@with_derivatives(bce_derivative, lambda logits, target: -logits)
def bce_of_logits(logits: Array, target: Array) -> Array:
    """-(y log p + (1 - y) log(1 - p)); an infinite logit on the right side costs 0."""
    return bce_linear_part(logits, target) + _log1p_exp_neg_abs(logits)


@with_derivatives(
    bce_derivative,
    lambda logits, target, pos_weight: pos_weight * softplus(-logits) - softplus(logits),
    lambda logits, target, pos_weight: safe_multiply(target, softplus(-logits)),
)
def weighted_bce_of_logits(logits: Array, target: Array, pos_weight: Array) -> Array:
    """-(w y log p + (1 - y) log(1 - p))"""
    weights = 1 - target + pos_weight * target
    return bce_linear_part(logits, target, pos_weight) + weights * _log1p_exp_neg_abs(logits)
