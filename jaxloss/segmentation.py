"""Segmentation: how well two sets overlap."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.derivatives import with_derivatives
from jaxloss._numerics.logistic import one_minus_p_t, sigmoid_derivative
from jaxloss._numerics.safe import fill_masked, safe_divide
from jaxloss._numerics.shards import any_over, sum_over
from jaxloss._numerics.xla import fuse_whole
from jaxloss._typing import ArrayLike, AxisName
from jaxloss.reductions import Reduction


@compiled_when_eager
def dice_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    from_logits: bool = True,
    axis: int | Sequence[int] | None = None,
    smooth: Real[ArrayLike, ""] = 1e-5,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""One minus the Dice coefficient (F1 score) of soft sets, with p = sigmoid(pred):

        loss = 1 - (2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth)

    The sums run over `axis`: over everything by default, which makes one set of the whole batch. For one loss per image
    and class of a (batch, height, width, classes) array pass `axis=(1, 2)`; `reduction` acts on what is left.

    Args:
        pred: logits, or probabilities with `from_logits=False`; floating.
        target: membership in [0, 1], floating, of exactly the shape of `pred`.
        from_logits: whether a sigmoid is applied to `pred`.
        axis: the axes that form a set; None for all.
        smooth: added above and below, at least 0, in elements; the loss of two empty sets is 0, even with `smooth=0`.
        axis_name: inside `shard_map`, the mesh axis, or several, over which a set spans: its sums go over all devices
            there. None if each device has whole sets.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to `pred`; elements where it is False (void pixels, padding) belong to no set. A
            set with no element left, on any device that has a part of it, is ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer and boolean targets are refused.
        ValueError: a Python number out of its domain, an axis that `pred` lacks, an `axis_name` of no mesh, or an
            unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets, or `pred` with `from_logits=False`, outside [0, 1]; logits that
            fill [0, 1] and never leave it (the double sigmoid).

    PyTorch: none.

    Reference: F. Milletari et al., V-Net, arXiv:1606.04797.

    >>> mask = jnp.array([[1.0, 1.0, 0.0, 0.0]])
    >>> print(f"{dice_loss(jnp.array([[3.0, 0.0, 0.0, -3.0]]), mask):.4f}")
    0.2737
    """
    call = Call("dice_loss", sample_weight, None, reduction)  # The mask hides elements, not sets.
    pred, target = call.floats(
        "Cast it: target.astype(jnp.float32), or encode it: jax.nn.one_hot.", pred=pred, target=target
    )
    axes = call.axes(axis, pred.ndim)
    mesh_axes = call.mesh_axes(axis_name=axis_name)
    call.parts("axis_name", mesh_axes, pred=pred)
    elements = call.mask(pred.shape, "`pred`", where=where)
    call.hide(
        tuple(size for place, size in enumerate(pred.shape) if place not in axes),
        pred.dtype,
        None if elements is None else any_over(mesh_axes, jnp.any(elements, axes)),
    )
    smooth = call.nonnegative(smooth=smooth)
    pred, target = fill_masked(elements, 0.0, pred, target)
    target = call.probabilities(target=target)
    if from_logits:
        call.check_not_sigmoid(pred, elements)
    else:
        pred = call.probabilities("For logits use from_logits=True.", pred=pred)

    difference, overlap = (_difference_of_logits, _overlap_of_logits) if from_logits else (_difference, jnp.multiply)
    difference = jnp.sum(fuse_whole(difference(pred, target)), axes, where=elements)
    overlap = jnp.sum(fuse_whole(overlap(pred, target)), axes, where=elements)
    difference, overlap = sum_over(mesh_axes, difference, overlap)
    return call.reduce(_dice(difference, 2 * overlap + smooth))


# p + y is p (1 - y) + (1 - p) y + 2 p y. All terms are positive, so neither a near-perfect overlap nor almost none
# loses its digits.
def _difference(p: Array, target: Array) -> Array:
    return p * (1 - target) + (1 - p) * target


_difference_of_logits = with_derivatives(
    lambda pred, target: (1 - 2 * target) * sigmoid_derivative(pred), lambda pred, target: -jnp.tanh(0.5 * pred)
)(one_minus_p_t)


@with_derivatives(lambda pred, target: target * sigmoid_derivative(pred), lambda pred, target: jax.nn.sigmoid(pred))
def _overlap_of_logits(pred: Array, target: Array) -> Array:
    return jax.nn.sigmoid(pred) * target


@with_derivatives(
    lambda difference, overlap: safe_divide(safe_divide(overlap, difference + overlap), difference + overlap),
    lambda difference, overlap: -safe_divide(safe_divide(difference, difference + overlap), difference + overlap),
)
def _dice(difference: Array, overlap: Array) -> Array:
    return safe_divide(difference, difference + overlap)
