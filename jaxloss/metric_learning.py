"""Metric learning: what is alike lies close, what is not lies apart."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float

from jaxloss._contracts import Contract
from jaxloss._numerics import expand, fill_hidden, norm
from jaxloss.reductions import Reduction, resolve


def triplet_margin_loss(
    anchor: Float[ArrayLike, "*batch features"],
    positive: Float[ArrayLike, "*batch features"],
    negative: Float[ArrayLike, "*batch features"],
    *,
    margin: Float[ArrayLike, ""] | float = 1.0,
    p: Float[ArrayLike, ""] | float = 2.0,
    eps: Float[ArrayLike, ""] | float = 1e-6,
    swap: bool = False,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The anchor shall lie nearer to the positive than to the negative, by a margin:

        d(x, y) = ||x - y + eps||_p
        loss    = max(d(anchor, positive) - d(anchor, negative) + margin, 0)

    The gradient is finite where points coincide, for every p and with `eps=0` too, and 0 where the loss is 0.

    Args:
        anchor: embeddings on the last axis, floating.
        positive: embeddings of the same kind as the anchor, floating, of exactly its shape.
        negative: embeddings of another kind, floating, of exactly its shape.
        margin: greater than 0, in the unit of the distance. May be traced.
        p: degree of the norm, greater than 0; `float("inf")` for the largest difference. May be traced if finite.
        eps: added to each difference (not to the norm), as PyTorch does; at least 0. May be traced.
        swap: use d(positive, negative) where it is the smaller of the two distances to the negative.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a triplet, of the shape of `anchor` without its last axis; float32 for
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
    contract = Contract("triplet_margin_loss")
    reduce = resolve(contract.function, reduction)
    anchor, positive, negative = contract.rows(
        None, "the features", anchor=anchor, positive=positive, negative=negative
    )
    margin = contract.positive(anchor.dtype, margin=margin)
    p = contract.positive(anchor.dtype, p=p)
    eps = contract.nonnegative(anchor.dtype, eps=eps)
    where = contract.mask(anchor.shape[:-1], where=where)
    anchor, positive, negative = fill_hidden(expand(-1, where), 0.0, anchor, positive, negative)

    to_positive = norm(anchor - positive + eps, p)
    to_negative = norm(anchor - negative + eps, p)
    if swap:
        to_negative = jnp.minimum(to_negative, norm(positive - negative + eps, p))
    return reduce(jax.nn.relu(margin + (to_positive - to_negative)), where)
