"""Self-supervised learning: two views of one thing agree, and the representation of all does not collapse."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._contracts import Contract
from jaxloss._eager import compiled_when_eager
from jaxloss._kernels.pairwise import LOG_SUM_EXP, Mesh, Pairs, log_of_sum, nearest, of_rows, pair_sums
from jaxloss._numerics.angles import angle
from jaxloss._numerics.cross_entropy import along
from jaxloss._numerics.loops import finite
from jaxloss._numerics.norms import norm, unit_rows
from jaxloss._numerics.safe import expand_mask, fill_masked, safe_divide
from jaxloss._numerics.shards import Shard, sum_over
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
    gave 0/0, and is refused by newer releases of lightly. iBOT's loss of masked patches is this one with `where`.

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


@compiled_when_eager
def vicreg_loss(
    pred: Float[ArrayLike, "rows features"],
    target: Float[ArrayLike, "rows features"],
    *,
    invariance_weight: Real[ArrayLike, ""] = 25.0,
    variance_weight: Real[ArrayLike, ""] = 25.0,
    covariance_weight: Real[ArrayLike, ""] = 1.0,
    eps: Real[ArrayLike, ""] = 1e-4,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, ""] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Two views of each row agree, every feature varies, and no two features say the same (VICReg):

        loss = invariance_weight mean_{ij}((x_ij - y_ij)^2)
             + variance_weight (v(x) + v(y)) / 2
             + covariance_weight (c(x) + c(y))
        v(x) = mean_j(max(0, 1 - sqrt(C_jj + eps)))
        c(x) = sum_{j != k} C_jk^2 / features
        C_jk = sum_i (x_ij - mean_i(x_ij)) (x_ik - mean_i(x_ik)) / (rows - 1)

    The half of the two variances is that of the authors' code, whose weights these are; the paper's formula has none.
    A batch has one loss, and `reduction` acts on that. Of a single row nothing varies: C is 0. The products that make C
    are of JAX's default precision, `jax.default_matmul_precision`.

    Args:
        pred: one view of each row (rows, features), floating.
        target: the other view, floating, of exactly the shape of `pred`.
        invariance_weight: at least 0, of the squared difference of the views. May be traced.
        variance_weight: at least 0, of the mean of the two hinges of standard deviations. May be traced.
        covariance_weight: at least 0, of the squared covariances. May be traced.
        eps: greater than 0, added to variances, in the squared unit of `pred`. May be traced.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: means and covariances are of
            the rows of all devices, and so is the loss. None on one device, and under `jit`.
        sample_weight: a number at least 0: the loss times it. 0 hides the loss. None for 1. May be traced.
        where: booleans (rows,); a row where it is False is left out, as if it were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        One number; float32 for half-precision inputs. 0 where no row is left.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: lightly's and pytorch-metric-learning's VICRegLoss have the half; solo-learn's `vicreg_loss_func` has
    not, so that half the `variance_weight` is the weight there.

    Reference: A. Bardes et al., VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning,
    arXiv:2105.04906.

    >>> x, y = jnp.array([[1.0, 0.0], [-1.0, 0.5]]), jnp.array([[0.5, 0.0], [-1.0, 1.0]])
    >>> print(f"{vicreg_loss(x, y):.4f}")
    9.8070
    """
    call = Call("vicreg_loss", sample_weight, None, reduction)  # The mask hides rows, not the one loss.
    batch = _batch(call, axis_name, where, pred, target)
    invariance_weight = call.nonnegative(invariance_weight=invariance_weight)
    variance_weight = call.nonnegative(variance_weight=variance_weight)
    covariance_weight = call.nonnegative(covariance_weight=covariance_weight)
    (eps,) = call.numbers(call.positive(eps=eps))

    (squares,) = batch.means(jnp.square(batch.views[0] - batch.views[1]))
    centered, others = batch.centered(), jnp.maximum(batch.size - 1, 1)
    hinges = [jax.nn.relu(1 - jnp.sqrt(total / others + eps)) for total in batch.sums(*map(jnp.square, centered))]
    covariances = [_squares_off_diagonal(batch.products(x, x) / others) for x in centered]
    variance = jnp.mean(hinges[0] + hinges[1]) / 2
    covariance = (covariances[0] + covariances[1]) / centered[0].shape[1]
    return call.reduce(
        invariance_weight * jnp.mean(squares) + variance_weight * variance + covariance_weight * covariance
    )


@compiled_when_eager
def barlow_twins_loss(
    pred: Float[ArrayLike, "rows features"],
    target: Float[ArrayLike, "rows features"],
    *,
    off_diagonal_weight: Real[ArrayLike, ""] = 0.005,
    eps: Real[ArrayLike, ""] = 1e-5,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, ""] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The features of two views correlate as those of the identity, each with itself alone (Barlow twins):

        loss = sum_j (1 - C_jj)^2 + off_diagonal_weight sum_{j != k} C_jk^2
        C_jk = mean_i(z(x)_ij z(y)_ik)
        z(x) = (x - mean_i(x)) / sqrt(mean_i((x - mean_i(x))^2) + eps)

    Each view has means and variances of its own. The variances are by the number of rows, so that C_jj reaches 1 where
    the views agree; by one less, it could not. 1 - C_jj is computed without the subtraction, and keeps its digits
    there. A batch has one loss, and `reduction` acts on that. The products that make C are of JAX's default precision,
    `jax.default_matmul_precision`; its diagonal is not among them.

    Args:
        pred: one view of each row (rows, features), floating.
        target: the other view, floating, of exactly the shape of `pred`.
        off_diagonal_weight: at least 0. May be traced.
        eps: greater than 0, added to variances, in the squared unit of `pred`. May be traced.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: means, variances and
            correlations are of the rows of all devices, and so is the loss. None on one device, and under `jit`.
        sample_weight: a number at least 0: the loss times it. 0 hides the loss. None for 1. May be traced.
        where: booleans (rows,); a row where it is False is left out, as if it were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        One number; float32 for half-precision inputs. 0 where no row is left.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: the authors' code and lightly's BarlowTwinsLoss are this one; MONAI's BarlowTwinsLoss divides variances
    by the rows less 1; solo-learn's `barlow_loss_func` multiplies the loss by 0.025.

    Reference: J. Zbontar et al., Barlow Twins: Self-Supervised Learning via Redundancy Reduction, arXiv:2103.03230.

    >>> x, y = jnp.array([[1.0, 0.0], [-1.0, 0.5], [0.0, 1.0]]), jnp.array([[1.0, 0.0], [0.0, 0.5], [-1.0, 1.0]])
    >>> print(f"{barlow_twins_loss(x, y):.4f}")
    0.2563
    """
    call = Call("barlow_twins_loss", sample_weight, None, reduction)
    batch = _batch(call, axis_name, where, pred, target)
    off_diagonal_weight = call.nonnegative(off_diagonal_weight=off_diagonal_weight)
    (eps,) = call.numbers(call.positive(eps=eps))

    # By a scale of each feature, so that no square overflows: at least 1, so that eps does not.
    centered = batch.centered()
    scales = [jnp.maximum(batch.largest(jnp.abs(x)), 1.0) for x in centered]
    scaled = [x / scale for x, scale in zip(centered, scales, strict=True)]
    rests = [eps / jnp.square(scale) for scale in scales]
    totals = [square + rest for square, rest in zip(batch.means(*map(jnp.square, scaled)), rests, strict=True)]
    x, y = (each / jnp.sqrt(total) for each, total in zip(scaled, totals, strict=True))
    # The mean of z^2 is 1 - rest / total.
    (apart,) = batch.means(jnp.square(x - y))
    missing = (apart + rests[0] / totals[0] + rests[1] / totals[1]) / 2
    others = _squares_off_diagonal(batch.products(x, y) / jnp.maximum(batch.size, 1))
    return call.reduce(jnp.sum(jnp.square(missing)) + off_diagonal_weight * others)


def _center(contract: Contract, target: Array, center: Any) -> Array:
    """Constant, in the dtype of the loss."""
    center = contract.floating([target.shape[-1:]], "One number a prototype.", center=center)
    return jax.lax.stop_gradient(center).astype(target.dtype)


@compiled_when_eager
def koleo_loss(
    pred: Float[ArrayLike, "rows features"],
    *,
    eps: Real[ArrayLike, ""] = 1e-8,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#rows"] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Rows spread over the sphere, each away from the one that is nearest (KoLeo, an estimate of the entropy):

        u_i    = x_i / ||x_i||_2
        loss_i = -log(min_{j != i} ||u_i - u_j||_2 + eps)

    The gradient goes to a row and to the one nearest to it, and is 0 where the two coincide. Which one that is is found
    from a block of similarities at a time, with products of the highest precision; rows that are nearer to each other
    than 0.001 may be taken for each other.

    Args:
        pred: rows (rows, features), of any length, floating.
        eps: greater than 0, added to distances. May be traced.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the nearest row is that of
            all devices, and the mean and the sum are over all. None on one device, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each row's loss times its weight, and
            the mean divides by their sum. A row of weight 0 may still be the nearest. None for 1 each. May be traced.
        where: booleans (rows,); a row where it is False is left out, as if it were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a row, of shape (rows,); float32 for half-precision inputs. A single row has a
        loss of 0, and does not count.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: DINOv2's and lightly's KoLeoLoss, which add eps to each difference too, and look for the nearest row on
    one device.

    Reference: A. Sablayrolles et al., Spreading vectors for similarity search, arXiv:1806.03198; M. Oquab et al.,
    DINOv2, arXiv:2304.07193.

    >>> print(f"{koleo_loss(jnp.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])):.4f}")
    -0.3466
    """
    call = Call("koleo_loss", sample_weight, where, reduction, axis_name=axis_name)
    rows = _rows(call, where, pred)
    call.hide(rows["x"].shape[:1], rows["x"].dtype)
    (eps,) = call.numbers(call.positive(eps=eps))
    return call.reduce(*of_rows(call.axis_name, _koleo, rows, {}, {"eps": eps}))


@compiled_when_eager
def uniformity_loss(
    pred: Float[ArrayLike, "rows features"],
    *,
    t: Real[ArrayLike, ""] = 2.0,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, ""] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Rows spread evenly over the sphere, each away from all others (uniformity):

        u_i  = x_i / ||x_i||_2
        loss = log(sum_{i != j} exp(-t ||u_i - u_j||_2^2) / (rows (rows - 1)))

    It is at most 0, where all rows point one way. Its counterpart, alignment, is `mse_loss` of two views of unit rows,
    times the number of features. A batch has one loss, and `reduction` acts on that. Only a block of pairs exists at a
    time.

    Args:
        pred: rows (rows, features), of any length, floating.
        t: greater than 0, how fast a pair counts less with its squared distance. May be traced.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the loss is of the rows of
            all devices. None on one device, and under `jit`.
        sample_weight: a number at least 0: the loss times it. 0 hides the loss. None for 1. May be traced.
        where: booleans (rows,); a row where it is False is left out, as if it were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        One number; float32 for half-precision inputs. 0 where no two rows are left.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `reduction`.

    PyTorch: none.

    Elsewhere: the authors' `uniform_loss`, which takes unit rows and stores the distances of all pairs.

    Reference: T. Wang and P. Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity
    on the Hypersphere, arXiv:2005.10242.

    >>> print(f"{uniformity_loss(jnp.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])):.4f}")
    -4.3963
    """
    call = Call("uniformity_loss", sample_weight, None, reduction)
    call.axis_name = call.mesh_axes(axis_name=axis_name)
    rows = _rows(call, where, pred)
    keep = rows.get("keep", jnp.ones_like(rows["x"][:, 0], bool))
    (size,) = sum_over(call.axis_name, jnp.sum(keep, dtype=rows["x"].dtype))
    call.hide((), rows["x"].dtype, size > 1)
    (t,) = call.numbers(call.positive(t=t))

    log_sums = of_rows(call.axis_name, _uniformity, rows, {}, {"t": t})
    scale = finite(Shard(0, call.axis_name).largest(jnp.max(log_sums, initial=-jnp.inf)))
    (total,) = sum_over(call.axis_name, jnp.sum(jnp.exp(log_sums - scale)))
    (pairs,) = call.visible(1.0, size * (size - 1))
    return call.reduce(jnp.where(size > 1, log_of_sum(total, scale), 0.0) - jnp.log(pairs))


def _rows(call: Call, where: Any, pred: Any) -> dict[str, Array]:
    """Rows that are compared with each other, 0 where they are left out, and which are kept if not all are."""
    (pred,) = call.floats(pred=pred)
    call.require_shape("`pred` must have the shape (rows, features)", pred, (None, None))
    call.parts("axis_name", call.axis_name, pred=pred)
    keep = call.mask(pred.shape[:1], "the rows", where=where)
    return {"x": pred} if keep is None else {"x": jnp.where(keep[:, None], pred, 0.0), "keep": keep}


def _koleo(mesh: Mesh, rows: dict[str, Array], shared: Any, numbers: dict[str, Array]) -> tuple[Array, Array]:
    """And whether a row has others."""
    if rows["x"].shape[0] == 0:
        return rows["x"].sum(-1), rows["x"].sum(-1)
    x, index = unit_rows(rows["x"]), mesh.indices(rows["x"])
    keys = mesh.gathered({"x": x, "index": index} | {name: each for name, each in rows.items() if name == "keep"})
    near = jnp.take(keys["x"], nearest(x, keys["x"], index, keys["index"], keys.get("keep")), 0)
    has_others = jnp.broadcast_to(jnp.sum(keys.get("keep", jnp.ones_like(keys["index"]))) > 1, index.shape)
    losses = -jnp.log(norm(x - near, 2) + numbers["eps"])
    return jnp.where(has_others, losses, 0.0), has_others.astype(losses.dtype)


def _uniformity(mesh: Mesh, rows: dict[str, Array], shared: Any, numbers: dict[str, Array]) -> Array:
    known = {"index": mesh.indices(rows["x"])} | {name: each for name, each in rows.items() if name == "keep"}
    pairs = Pairs(_uniformity_terms, (LOG_SUM_EXP,), True, None, None, rows["x"].dtype)
    keys = None if mesh.axis_name is None else mesh.gathered(rows["x"])
    return pair_sums(pairs, rows["x"], keys, numbers, known, mesh.gathered(known))[0]


def _uniformity_terms(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> tuple[Array, ...]:
    is_other = anchors["index"] != keys["index"]
    if "keep" in keys:
        is_other &= anchors["keep"] & keys["keep"]
    return (jnp.where(is_other, -2 * numbers["t"] * (1 - similarity), -jnp.inf),)


class _Batch(NamedTuple):
    """Two views of rows, which are 0 where a row is left out, and how many rows are kept on all devices."""

    views: tuple[Array, ...]
    keep: Array | None
    size: Array
    axis_name: AxisName | None

    def sums(self, *values: Array) -> tuple[Array, ...]:
        """Over the rows of all devices, of what is 0 where a row is left out."""
        return sum_over(self.axis_name, *[jnp.sum(each, 0, keepdims=True) for each in values])

    def means(self, *values: Array) -> list[Array]:
        return [safe_divide(total, self.size) for total in self.sums(*values)]

    def largest(self, values: Array) -> Array:
        """Of what is at least 0; held constant."""
        return Shard(0, self.axis_name).largest(jnp.max(values, 0, keepdims=True, initial=0.0))

    def centered(self) -> list[Array]:
        moved = [view - mean for view, mean in zip(self.views, self.means(*self.views), strict=True)]
        return list(fill_masked(self.keep, 0.0, *moved))

    def products(self, x: Array, y: Array) -> Array:
        """x^T y: a number for each pair of features."""
        mesh = jax.typeof(x).sharding.mesh
        whole = NamedSharding(mesh, P(None, None)) if AxisType.Explicit in mesh.axis_types else None
        return sum_over(self.axis_name, jax.lax.dot_general(x, y, (((0,), (0,)), ((), ())), out_sharding=whole))[0]


def _batch(call: Call, axis_name: AxisName | None, where: Any, pred: Any, target: Any) -> _Batch:
    pred, target = call.floats(pred=pred, target=target)
    call.require_shape("`pred` must have the shape (rows, features)", pred, (None, None))
    axis_name = call.mesh_axes(axis_name=axis_name)
    call.parts("axis_name", axis_name, pred=pred, target=target)
    keep = call.mask(pred.shape[:1], "the rows", where=where)
    rows = jnp.ones_like(pred[:, 0]) if keep is None else keep.astype(pred.dtype)
    (count,) = sum_over(axis_name, jnp.sum(rows))
    call.hide((), pred.dtype, count > 0)
    keep = None if keep is None else keep[:, None]
    return _Batch(fill_masked(keep, 0.0, pred, target), keep, count, axis_name)


def _squares_off_diagonal(products: Array) -> Array:
    return jnp.sum(jnp.where(jnp.eye(products.shape[0], dtype=bool), 0.0, jnp.square(products)))
