"""Metric learning: embeddings of like things should be close, those of unlike things apart."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.angles import angle
from jaxloss._numerics.norms import distances
from jaxloss._numerics.safe import nan_unless
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction


@compiled_when_eager
def triplet_margin_loss(
    anchor: Float[ArrayLike, "*batch features"],
    positive: Float[ArrayLike, "*batch features"],
    negative: Float[ArrayLike, "*batch features"],
    *,
    margin: Real[ArrayLike, ""] = 1.0,
    p: Real[ArrayLike, ""] = 2.0,
    eps: Real[ArrayLike, ""] = 1e-6,
    swap: bool = False,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The anchor must be closer to the positive than to the negative, by a margin:

        d(x, y) = ||x - y + eps||_p
        loss    = max(d(anchor, positive) - d(anchor, negative) + margin, 0)

    Where points coincide the gradient is finite, for every p and even with `eps=0`; it is 0 where the loss is 0.

    Args:
        anchor: embeddings on the last axis, floating.
        positive: embeddings of the same kind as the anchor, floating, of exactly its shape.
        negative: embeddings of another kind, floating, of exactly its shape.
        margin: greater than 0, in the unit of the distance. May be traced.
        p: degree of the norm, greater than 0 and not so small that the norm of ones, features^(1/p), overflows;
            `float("inf")` for the largest difference. May be traced if finite.
        eps: added to each difference (not to the norm), as PyTorch does; at least 0. May be traced.
        swap: use d(positive, negative) where it is the smaller of the two distances to the negative.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per triplet, of the shape of `anchor` without its last axis; float32 for
        half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, or an unknown `reduction`.

    PyTorch: `torch.nn.functional.triplet_margin_loss`, `torch.nn.TripletMarginLoss`.

    Reference: V. Balntas et al., Learning local feature descriptors with triplets and shallow convolutional neural
    networks, 2016, doi:10.5244/C.30.119; F. Schroff et al., FaceNet, arXiv:1503.03832.

    >>> anchor, positive, negative = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.5]])[:, None]
    >>> print(f"{triplet_margin_loss(anchor, positive, negative, margin=1.0):.4f}")
    4.5000
    """
    call = Call("triplet_margin_loss", sample_weight, where, reduction)
    anchor, positive, negative = call.vectors(None, "the features", anchor=anchor, positive=positive, negative=negative)
    margin = call.positive(margin=margin)
    p = _degree(call, anchor, p)
    eps = call.nonnegative(eps=eps)

    pairs = _pairs(anchor, positive, negative, swap)
    return call.reduce(_triplet_hinge(distances(p, eps, *pairs), margin))


@compiled_when_eager
def triplet_margin_with_distance_loss(
    anchor: Float[ArrayLike, "*batch features"],
    positive: Float[ArrayLike, "*batch features"],
    negative: Float[ArrayLike, "*batch features"],
    *,
    distance_function: Callable[[Array, Array], Array] | None = None,
    margin: Real[ArrayLike, ""] = 1.0,
    swap: bool = False,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""`triplet_margin_loss` with a distance d of your own:

        loss = max(d(anchor, positive) - d(anchor, negative) + margin, 0)

    Where points coincide the gradients are those of your distance. In place of hidden points it sees points that are
    distinct, not zero and shorter than 1, at which no distance in common use is singular.

    Args:
        anchor: embeddings on the last axis, floating.
        positive: embeddings of the same kind as the anchor, floating, of exactly its shape.
        negative: embeddings of another kind, floating, of exactly its shape.
        distance_function: `(x, y) -> distances`: two arrays of the shape of `anchor` become one distance per row, of
            that shape without its last axis. None for the Euclidean one, `||x - y + 1e-6||`.
        margin: greater than 0, in the unit of the distance. May be traced.
        swap: use d(positive, negative) where it is the smaller of the two distances to the negative.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per triplet, of the shape of `anchor` without its last axis; float32 for
        half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract, also that of what `distance_function` returns.
        ValueError: a Python number out of its domain, or an unknown `reduction`.

    PyTorch: `torch.nn.functional.triplet_margin_with_distance_loss`, `torch.nn.TripletMarginWithDistanceLoss`.

    Reference: V. Balntas et al., Learning local feature descriptors with triplets and shallow convolutional neural
    networks, 2016, doi:10.5244/C.30.119.

    >>> anchor, positive, negative = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.5]])[:, None]
    >>> def manhattan(x, y):
    ...     return jnp.abs(x - y).sum(-1)
    >>> triplet_margin_with_distance_loss(anchor, positive, negative, distance_function=manhattan)
    Array(6.5, dtype=float32)
    """
    call = Call("triplet_margin_with_distance_loss", sample_weight, where, reduction)
    anchor, positive, negative = call.rows(None, "the features", anchor=anchor, positive=positive, negative=negative)
    call.hide(anchor.shape[:-1], anchor.dtype)
    step = 0.25 / max(anchor.shape[-1], 1)
    hidden = zip((step, 2 * step, 3 * step), (anchor, positive, negative), strict=True)
    anchor, positive, negative = (call.visible(fill, array)[0] for fill, array in hidden)
    margin = call.positive(margin=margin)

    pairs = _pairs(anchor, positive, negative, swap)
    if distance_function is None:
        return call.reduce(_triplet_hinge(distances(2.0, 1e-6, *pairs), margin))
    hint = "It returns one distance a row: sum over axis -1."
    own = [call.floating([anchor.shape[:-1]], hint, distance_function=distance_function(x, y)) for x, y in pairs]
    return call.reduce(_triplet_hinge([distance.astype(anchor.dtype) for distance in own], margin))


@compiled_when_eager
def cosine_embedding_loss(
    input1: Float[ArrayLike, "*batch features"],
    input2: Float[ArrayLike, "*batch features"],
    target: Float[ArrayLike, "*batch"],
    *,
    margin: Real[ArrayLike, ""] = 0.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Pairs that are alike should have a small angle between them, pairs that are not a large one:

        cos(x, y) = x . y / sqrt((|x|^2 + 1e-12) (|y|^2 + 1e-12))
        loss      = 1 - cos(input1, input2)                  if target is 1
                    max(cos(input1, input2) - margin, 0)     if target is -1

    The cosine of a zero vector is 0, and its gradient is finite. 1 - cos is computed without the subtraction: it keeps
    its digits where the vectors nearly agree, and is never negative.

    Args:
        input1: embeddings on the last axis, floating.
        input2: embeddings to compare them with, floating, of exactly the shape of `input1`.
        target: 1 for a pair that is alike, -1 for one that is not, floating, of the shape of `input1` without its last
            axis. Anything else gives NaN in value and gradient (PyTorch's loss is 0 there).
        margin: in [-1, 1], the cosine up to which a pair that is not alike costs nothing; 0 to 0.5 is common. May be
            traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss per pair, of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets that are not -1 or 1.

    PyTorch: `torch.nn.functional.cosine_embedding_loss`, `torch.nn.CosineEmbeddingLoss`.

    Reference: J. Bromley et al., Signature Verification Using a "Siamese" Time Delay Neural Network, 1993,
    doi:10.1142/S0218001493000339.

    >>> x, y = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[0.0, 2.0], [3.0, 4.0]])
    >>> print(f"{cosine_embedding_loss(x, y, jnp.array([1.0, -1.0])):.4f}")
    0.8000
    """
    call = Call("cosine_embedding_loss", sample_weight, where, reduction)
    input1, input2 = call.vectors(None, "the features", input1=input1, input2=input2)
    target = call.floating([input1.shape[:-1]], "One number a pair.", target=target)
    (target,) = call.visible(1.0, target)
    target = call.signs("For labels 0 and 1: 2 * target - 1.", target=target)
    margin = call.number(lambda value: (value >= -1) & (value <= 1), "in [-1, 1]", {"margin": margin})

    apart, cosine, *_ = angle(input1, input2, 1e-6)
    too_near = _positive_part(cosine - margin)
    return call.reduce(jnp.where(target == -1, too_near, apart) * nan_unless(~jnp.isnan(target)))


def _degree(call: Call, vectors: Array, p: Any) -> Array | float:
    """The degree of a norm; if it is too small, the norm of ones, size ** (1 / p), overflows."""
    least = math.log(max(vectors.shape[-1], 1)) / math.log(float(jnp.finfo(vectors.dtype).max))
    domain = f"greater than 0 and at least {least:.3g} for {vectors.shape[-1]} features"
    return call.number(lambda value: (value > 0) & (value >= least), domain, {"p": p})


def _pairs(anchor: Array, positive: Array, negative: Array, swap: bool) -> list[tuple[Array, Array]]:
    """What is near, and what is far: from the anchor, and if `swap`, from the positive too."""
    return [(anchor, positive), (anchor, negative), *([(positive, negative)] if swap else [])]


def _triplet_hinge(of_pairs: Sequence[Array], margin: Array | float) -> Array:
    near, *far = of_pairs
    return _positive_part(margin + (near - functools.reduce(jnp.minimum, far)))


def _positive_part(value: Array) -> Array:
    """max(0, value), whose derivative at 0 is 0. NaN stays NaN, and so does its derivative."""
    return jnp.where(value <= 0, 0.0, value) * nan_unless(~jnp.isnan(value))
