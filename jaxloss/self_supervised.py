"""Self-supervised learning: two views of one thing agree, and the representation of all does not collapse."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._contracts import Contract
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.angles import angle
from jaxloss._numerics.cross_entropy import along
from jaxloss._numerics.safe import expand_mask, fill_masked, safe_divide
from jaxloss._numerics.shards import sum_over
from jaxloss._numerics.softmax import log_softmax, soft_cross_entropy, tempered
from jaxloss._typing import ArrayLike, AxisName
from jaxloss.reductions import Reduction


@compiled_when_eager
def cosine_distance(
    pred: Float[ArrayLike, "*batch features"],
    target: Float[ArrayLike, "*batch features"],
    *,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""How far apart the directions of two vectors are, between 0 and 2:

        loss = 1 - x . y / (||x||_2 ||y||_2)

    The loss of BYOL is twice this, and that of SimSiam is this less 1, each of a `target` that is stopped:
    `jax.lax.stop_gradient`. The cosine of a zero vector is 0, with gradient 0. The distance is computed without the
    subtraction: it keeps its digits where the vectors nearly agree, and is never negative.

    Args:
        pred: vectors on the last axis, of any length, floating.
        target: vectors to compare them with, floating, of exactly the shape of `pred`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a pair, of the shape of `pred` without its last axis; float32 for half-precision
        inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: an unknown `reduction`.

    PyTorch: none; 1 - `torch.nn.functional.cosine_similarity`, which adds no eps to the lengths but bounds them below.

    Elsewhere: optax's `cosine_distance`, which is NaN for a zero vector unless `epsilon` is above 0; Keras's
    CosineSimilarity is this less 1.

    Reference: J.-B. Grill et al., Bootstrap Your Own Latent, arXiv:2006.07733; X. Chen and K. He, Exploring Simple
    Siamese Representation Learning, arXiv:2011.10566.

    >>> x, y = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[0.0, 2.0], [3.0, 4.0]])
    >>> print(f"{cosine_distance(x, y):.4f}")
    0.7000
    """
    call = Call("cosine_distance", sample_weight, where, reduction)
    pred, target = call.vectors(None, "the features", pred=pred, target=target)
    return call.reduce(angle(pred, target, 0.0).apart)


@compiled_when_eager
def dino_loss(
    pred: Float[ArrayLike, "*batch prototypes"],
    target: Float[ArrayLike, "*batch prototypes"],
    center: Float[ArrayLike, " prototypes"],
    *,
    temperature: Real[ArrayLike, ""] = 0.1,
    target_temperature: Real[ArrayLike, ""] = 0.04,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The cross-entropy of a student's distribution over prototypes, where a teacher gives the labels (DINO):

        p    = softmax((target - center) / target_temperature)
        loss = -sum_k p_k log softmax(pred / temperature)_k

    `pred` and `target` are of different views of one image. For several of each stack the pairs: the mean of DINO is
    over all pairs of a view of the teacher and another one of the student. `dino_center` gives the next centre.

    Args:
        pred: the student's logits over the prototypes, on the last axis, floating; no softmax.
        target: the teacher's logits, floating, of exactly the shape of `pred`. No gradient flows to them.
        center: what is subtracted from the teacher's logits, so that no prototype wins always: one number a prototype,
            floating. No gradient flows to it.
        temperature: greater than 0, what the student's logits are divided by. May be traced.
        target_temperature: greater than 0, the same of the teacher's, and less, so that its labels are sharper. May be
            traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a row, of the shape of `pred` without its last axis; float32 for half-precision
        inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, `pred` that already holds probabilities.

    PyTorch: none.

    Elsewhere: DINO's and lightly's DINOLoss take all views of all images, and keep the centre; there a single view
    gives 0/0. iBOT's loss of masked patches is this one with `where`.

    Reference: M. Caron et al., Emerging Properties in Self-Supervised Vision Transformers, arXiv:2104.14294.

    >>> student, teacher = jnp.array([[0.2, 0.1, 0.0]]), jnp.array([[0.3, 0.1, 0.1]])
    >>> print(f"{dino_loss(student, teacher, jnp.array([0.1, 0.0, 0.0])):.4f}")
    0.6191
    """
    call = Call("dino_loss", sample_weight, where, reduction)
    pred, target = call.classes(-1, pred=pred, target=target)
    call.hide(pred.shape[:-1], pred.dtype)
    pred, target = call.visible(0.0, pred, target)
    center = _center(call, pred, center)
    call.check_not_softmax(pred, pred.ndim - 1, call.keep)
    temperature = call.positive(temperature=temperature)
    target_temperature = call.positive(target_temperature=target_temperature)

    target = jax.lax.stop_gradient(target - along(target.ndim - 1, center, target.ndim))
    labels = jnp.exp(log_softmax(tempered(target, target_temperature), pred.ndim - 1))
    return call.reduce(soft_cross_entropy(tempered(pred, temperature), labels, pred.ndim - 1))


def dino_center(
    target: Float[ArrayLike, "*batch prototypes"],
    center: Float[ArrayLike, " prototypes"],
    *,
    momentum: Real[ArrayLike, ""] = 0.9,
    axis_name: AxisName | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, " prototypes"]:
    r"""The next centre of `dino_loss`, a moving mean of the teacher's logits: an array, no loss.

        center' = momentum center + (1 - momentum) mean_i(target_i)

    No gradient flows to either. Where no row is kept the centre stays as it is.

    Args:
        target: the teacher's logits over the prototypes, on the last axis, floating.
        center: the centre so far, one number a prototype, floating; zeros to begin with.
        momentum: in [0, 1], how much of the centre is kept. May be traced.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the mean is over all devices.
            None on one device, and under `jit`.
        where: booleans that broadcast to `target` without its last axis; rows where it is False are left out.

    Returns:
        An array of the shape of `center`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, or an `axis_name` of no mesh.

    PyTorch: none.

    Elsewhere: the `update_center` of DINO's DINOLoss, and lightly's Center.

    Reference: M. Caron et al., Emerging Properties in Self-Supervised Vision Transformers, arXiv:2104.14294.

    >>> print(dino_center(jnp.array([[1.0, 0.0], [3.0, 0.0]]), jnp.array([0.0, 1.0]), momentum=0.5))
    [1.  0.5]
    """
    contract = Contract("dino_center")
    (target,) = contract.classes(-1, target=target)
    contract.dtype = target.dtype
    keep = contract.mask(target.shape[:-1], "`target` without its last axis", where=where)
    axis_name = contract.mesh_axes(axis_name=axis_name)
    contract.parts("axis_name", axis_name, target=target)
    center = _center(contract, target, center)
    momentum = jnp.asarray(contract.fraction(momentum=momentum), target.dtype)
    rows = tuple(range(target.ndim - 1))

    # What is added is relative to the centre: without rows it is nothing.
    (moves,) = fill_masked(
        expand_mask(-1, keep), 0.0, jax.lax.stop_gradient(target) - along(target.ndim - 1, center, target.ndim)
    )
    count = jnp.sum(jnp.ones_like(moves) if keep is None else jnp.broadcast_to(keep[..., None], moves.shape), rows)
    total, count = sum_over(axis_name, jnp.sum(moves, rows), count.astype(moves.dtype))
    return center + (1 - momentum) * safe_divide(total, count)


def _center(contract: Contract, target: Array, center: Any) -> Array:
    """Constant, in the dtype of the loss."""
    center = contract.floating([target.shape[-1:]], "One number a prototype.", center=center)
    return jax.lax.stop_gradient(center).astype(target.dtype)
