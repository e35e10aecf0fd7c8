"""Segmentation: how well two sets overlap."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._contracts import Contract
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics import divide, fill_hidden, in_one_piece, miss, odds, with_slopes
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction, resolve


@compiled_when_eager
def dice_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    from_logits: bool = True,
    axis: int | Sequence[int] | None = None,
    smooth: Real[ArrayLike, ""] = 1e-5,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""One less the Dice coefficient (F1 score) of soft sets, with p = sigmoid(pred):

        loss = 1 - (2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth)

    The sums run over `axis`: over everything by default, which makes one set of the whole batch. For one loss per image
    and class of a (batch, height, width, classes) array give `axis=(1, 2)`; `reduction` acts on what is left.

    Args:
        pred: logits, or probabilities with `from_logits=False`; floating.
        target: membership in [0, 1], floating, of exactly the shape of `pred`.
        from_logits: whether a sigmoid is applied to `pred`.
        axis: the axes that form a set; None for all.
        smooth: added above and below, at least 0, in elements; the loss of two empty sets is 0, with `smooth=0` too.
        where: booleans that broadcast to `pred`; elements (void pixels, padding) belong to no set where False. A set
            with no element left counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number out of its domain, an axis that `pred` lacks, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets, or `pred` with `from_logits=False`, outside [0, 1]; logits that
            fill [0, 1] and never leave it (a sigmoid twice).

    PyTorch: none.

    Reference: F. Milletari et al., V-Net, arXiv:1606.04797.

    >>> mask = jnp.array([[1.0, 1.0, 0.0, 0.0]])
    >>> print(f"{dice_loss(jnp.array([[3.0, 0.0, 0.0, -3.0]]), mask):.4f}")
    0.2737
    """
    contract = Contract("dice_loss")
    reduce = resolve(contract.function, reduction)
    pred, target = contract.floats(
        "Cast it: target.astype(jnp.float32), or encode it: jax.nn.one_hot.", pred=pred, target=target
    )
    axes = contract.axes(axis, pred.ndim)
    smooth = contract.nonnegative(pred.dtype, smooth=smooth)
    where = contract.mask(pred.shape, "`pred`", where=where)
    pred, target = fill_hidden(where, 0.0, pred, target)
    contract.check_probabilities(target=target)
    if from_logits:
        contract.check_not_sigmoid(pred, where)
    else:
        contract.check_probabilities("For logits use from_logits=True.", pred=pred)

    differ, overlap = (_differ_of_logits, _overlap_of_logits) if from_logits else (_differ, jnp.multiply)
    differ = jnp.sum(in_one_piece(differ(pred, target)), axes, where=where)
    overlap = 2 * jnp.sum(in_one_piece(overlap(pred, target)), axes, where=where) + smooth
    return reduce(_dice(differ, overlap), None if where is None else jnp.any(where, axes))


# p + y is p (1 - y) + (1 - p) y + 2 p y. All terms are positive: neither a near-perfect overlap nor next to none loses
# its digits.
def _differ(p: Array, target: Array) -> Array:
    return p * (1 - target) + (1 - p) * target


_differ_of_logits = with_slopes(
    lambda pred, target: (1 - 2 * target) * _variance(pred), lambda pred, target: -jnp.tanh(0.5 * pred)
)(miss)


@with_slopes(lambda pred, target: target * _variance(pred), lambda pred, target: jax.nn.sigmoid(pred))
def _overlap_of_logits(pred: Array, target: Array) -> Array:
    return jax.nn.sigmoid(pred) * target


def _variance(logits: Array) -> Array:
    """p (1 - p)"""
    less = odds(logits)
    return less * jnp.square(1 / (1 + less))


@with_slopes(
    lambda differ, overlap: divide(divide(overlap, differ + overlap), differ + overlap),
    lambda differ, overlap: -divide(divide(differ, differ + overlap), differ + overlap),
)
def _dice(differ: Array, overlap: Array) -> Array:
    return divide(differ, differ + overlap)
