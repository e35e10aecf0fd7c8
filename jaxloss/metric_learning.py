"""Metric learning: embeddings of like things should be close, those of unlike things apart."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Integer, Real

from jaxloss._call import ONE_HOT, Call
from jaxloss._contracts.arrays import single_precision
from jaxloss._eager import compiled_when_eager
from jaxloss._kernels.linear_cross_entropy import cosine_sums_in_blocks
from jaxloss._kernels.pairwise import LOG_SUM_EXP_OF_KEYS, Axes, Pairs, log_sum_exp_over, of_proxies, pair_sums
from jaxloss._numerics.angles import angle
from jaxloss._numerics.labels import is_class
from jaxloss._numerics.logistic import softplus
from jaxloss._numerics.norms import distances
from jaxloss._numerics.safe import nan_unless, safe_divide
from jaxloss._numerics.shards import Shard, any_over, sum_over
from jaxloss._typing import ArrayLike, AxisName
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


@compiled_when_eager
def arcface_loss(
    pred: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "kernel_features classes"],
    target: Integer[ArrayLike, "*batch"],
    *,
    margin: Real[ArrayLike, ""] = 0.5,
    scale: Real[ArrayLike, ""] = 64.0,
    easy_margin: bool = False,
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Each row must be nearer to the proxy of its class than to all others, by a margin of the angle (ArcFace):

        s_c  = cos(t_c)                                          t_c: the angle between the row and the proxy of c
        m_y  = cos(t_y + margin)                                 if t_y <= pi - margin
               cos(t_y) - margin sin(margin)                     beyond
        loss = log(exp(scale m_y) + sum_{c != y} exp(scale s_c)) - scale m_y

    Beyond pi - margin, where cos(t + margin) would turn back, the rule is insightface's: the logit keeps falling, with
    a jump where the rules meet. With `easy_margin` the margin is taken where cos(t_y) > 0 alone, and elsewhere m_y is
    cos(t_y).

    Rows and proxies are normalised in float32 whatever their scale; a row or a proxy of zeros has cosine 0 and gradient
    0. The logits never exist all at once, nor does a normalised kernel: a block of classes is multiplied at a time, for
    the value and for the gradient, in four products.
    The sine of the angle to the own proxy is taken from the two vectors: it keeps its digits next to 0, where the
    gradient is finite, as it is at pi.

    Args:
        pred: embeddings on the last axis, of any length, floating.
        kernel: a proxy of each class in a column (features, classes), of any length, floating, as Flax's `Dense` and
            `Linear` keep their weights.
        target: class indices in [0, classes), integer, of the shape of `pred` without its last axis. An index out of
            range, also a negative one, gives NaN in value and gradient.
        margin: in [0, pi / 2], in radians: pytorch-metric-learning's 28.6 degrees are 0.5. May be traced.
        scale: greater than 0, the factor of all cosines. May be traced.
        easy_margin: whether rows at an angle of 90 degrees and more from their proxy are spared the margin; a Python
            boolean.
        chunk_size: how many classes a block takes, each with all rows; a Python integer. None for 1/256 of them, but at
            least 512. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a cosine is one of 0.25 at a scale of 64.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `kernel`. Indices count all classes. None if each device has
            all, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a row, of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, a `class_axis_name` of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range.

    PyTorch: none.

    Elsewhere: insightface's ArcFace and PartialFC, which takes a part of the classes at random and -1 for a label that
    a device has not (here `class_axis_name`; a row without a class is hidden by `where`); pytorch-metric-learning's
    ArcFaceLoss, whose `margin` is in degrees, 28.6.

    Reference: J. Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, arXiv:1801.07698.

    >>> rows, proxies = jnp.array([[1.0, 0.0], [1.0, 1.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(f"{arcface_loss(rows, proxies, jnp.array([0, 1]), scale=4.0):.4f}")
    0.9496
    """
    call = Call("arcface_loss", sample_weight, where, reduction, class_axis_name=class_axis_name)
    pred, kernel, target = _with_proxies(call, pred, kernel, target)
    domain = "in [0, pi / 2], in radians"
    margin = call.number(lambda value: (value >= 0) & (value <= math.pi / 2), domain, {"margin": margin})
    margin, scale = call.numbers(margin, call.positive(scale=scale))
    how = call.chunk_size(chunk_size), call.precision(precision)

    own, sine, log_others = cosine_sums_in_blocks(call, pred, kernel, target, scale, *how, with_sine=True)
    assert sine is not None
    within = own * jnp.cos(margin) - sine * jnp.sin(margin)
    if easy_margin:
        own = jnp.where(own > 0, within, own)
    else:
        own = jnp.where(own >= -jnp.cos(margin), within, own - margin * jnp.sin(margin))
    return call.reduce(softplus(log_others - scale * own))


@compiled_when_eager
def cosface_loss(
    pred: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "kernel_features classes"],
    target: Integer[ArrayLike, "*batch"],
    *,
    margin: Real[ArrayLike, ""] = 0.35,
    scale: Real[ArrayLike, ""] = 64.0,
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Each row must be nearer to the proxy of its class than to all others, by a margin of the cosine (CosFace):

        s_c  = cos(row, proxy_c)
        m_y  = s_y - margin
        loss = log(exp(scale m_y) + sum_{c != y} exp(scale s_c)) - scale m_y

    Without a margin it is the cross-entropy of cosines, the normalised softmax.

    Rows and proxies are normalised in float32 whatever their scale; a row or a proxy of zeros has cosine 0 and gradient
    0. The logits never exist all at once, nor does a normalised kernel: a block of classes is multiplied at a time, for
    the value and for the gradient, in four products.

    Args:
        pred: embeddings on the last axis, of any length, floating.
        kernel: a proxy of each class in a column (features, classes), of any length, floating, as Flax's `Dense` and
            `Linear` keep their weights.
        target: class indices in [0, classes), integer, of the shape of `pred` without its last axis. An index out of
            range, also a negative one, gives NaN in value and gradient.
        margin: at least 0, what the cosine to the own proxy is lowered by. May be traced.
        scale: greater than 0, the factor of all cosines. May be traced.
        chunk_size: how many classes a block takes, each with all rows; a Python integer. None for 1/256 of them, but at
            least 512. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a cosine is one of 0.25 at a scale of 64.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `kernel`. Indices count all classes. None if each device has
            all, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a row, of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, a `class_axis_name` of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range.

    PyTorch: none.

    Elsewhere: insightface's CosFace, with 0.4; pytorch-metric-learning's CosFaceLoss; AM-Softmax and the large-margin
    cosine loss are other names; pytorch-metric-learning's NormalizedSoftmaxLoss is this one with a margin of 0 and a
    scale of one by its `temperature`, 20.

    Reference: H. Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition, arXiv:1801.09414; F. Wang et
    al., Additive Margin Softmax for Face Verification, arXiv:1801.05599.

    >>> rows, proxies = jnp.array([[1.0, 0.0], [1.0, 1.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(f"{cosface_loss(rows, proxies, jnp.array([0, 1]), scale=4.0):.4f}")
    0.8460
    """
    call = Call("cosface_loss", sample_weight, where, reduction, class_axis_name=class_axis_name)
    pred, kernel, target = _with_proxies(call, pred, kernel, target)
    margin, scale = call.numbers(call.nonnegative(margin=margin), call.positive(scale=scale))
    how = call.chunk_size(chunk_size), call.precision(precision)

    own, _, log_others = cosine_sums_in_blocks(call, pred, kernel, target, scale, *how)
    return call.reduce(softplus(log_others - scale * (own - margin)))


@compiled_when_eager
def proxy_nca_loss(
    pred: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "kernel_features classes"],
    target: Integer[ArrayLike, "*batch"],
    *,
    scale: Real[ArrayLike, ""] = 8.0,
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Each row must be nearer to the proxy of its class than to all others, by squared distances (Proxy-NCA++):

        d_c  = ||row / ||row||_2 - proxy_c / ||proxy_c||_2||_2^2
        loss = scale d_y + log(sum_c exp(-scale d_c))

    It is a probability: the own proxy is among those of the sum, which the first Proxy-NCA left out, so that its loss
    had no lower bound. As d_c = 2 - 2 cos(row, proxy_c), it is the cross-entropy of cosines times 2 `scale`.

    Rows and proxies are normalised in float32 whatever their scale; a row or a proxy of zeros has cosine 0 and gradient
    0. The logits never exist all at once, nor does a normalised kernel: a block of classes is multiplied at a time, for
    the value and for the gradient, in four products.

    Args:
        pred: embeddings on the last axis, of any length, floating.
        kernel: a proxy of each class in a column (features, classes), of any length, floating, as Flax's `Dense` and
            `Linear` keep their weights.
        target: class indices in [0, classes), integer, of the shape of `pred` without its last axis. An index out of
            range, also a negative one, gives NaN in value and gradient.
        scale: greater than 0, the factor of squared distances, one by the temperature of the paper (9). May be traced.
        chunk_size: how many classes a block takes, each with all rows; a Python integer. None for 1/256 of them, but at
            least 512. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a cosine is one of 0.25 at a scale of 64.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `kernel`. Indices count all classes. None if each device has
            all, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a row, of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, a `class_axis_name` of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range.

    PyTorch: none.

    Elsewhere: the authors' ProxyNCA_prob, with 9; pytorch-metric-learning's ProxyNCALoss, with a `softmax_scale` of 1,
    which drops rows whose probability underflows from the mean.

    Reference: E. W. Teh et al., ProxyNCA++: Revisiting and Revitalizing Proxy Neighborhood Component Analysis,
    arXiv:2004.01113; Y. Movshovitz-Attias et al., No Fuss Distance Metric Learning using Proxies, arXiv:1703.07464.

    >>> rows, proxies = jnp.array([[1.0, 0.0], [1.0, 1.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(f"{proxy_nca_loss(rows, proxies, jnp.array([0, 1]), scale=1.0):.4f}")
    0.4100
    """
    call = Call("proxy_nca_loss", sample_weight, where, reduction, class_axis_name=class_axis_name)
    pred, kernel, target = _with_proxies(call, pred, kernel, target)
    (scale,) = call.numbers(call.positive(scale=scale))
    how = call.chunk_size(chunk_size), call.precision(precision)

    own, _, log_others = cosine_sums_in_blocks(call, pred, kernel, target, 2 * scale, *how)
    return call.reduce(softplus(log_others - 2 * scale * own))


@compiled_when_eager
def proxy_anchor_loss(
    pred: Float[ArrayLike, "rows features"],
    kernel: Float[ArrayLike, "kernel_features classes"],
    target: Integer[ArrayLike, " rows"],
    *,
    margin: Real[ArrayLike, ""] = 0.1,
    scale: Real[ArrayLike, ""] = 32.0,
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    axis_name: AxisName | None = None,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, ""] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Each proxy attracts the rows of its class and repels all others, the hardest most (proxy-anchor):

        s_ic = cos(row_i, proxy_c)
        p_c  = log(1 + sum_{i of c} exp(-scale (s_ic - margin)))
        n_c  = log(1 + sum_{i not of c} exp(scale (s_ic + margin)))
        loss = mean_{c with rows}(p_c) + mean_c(n_c)

    The first mean is over the classes that have rows in the batch, the second over all. A batch has one loss, and
    `reduction` acts on that.

    Rows and proxies are normalised in float32 whatever their scale; a row or a proxy of zeros has cosine 0 and gradient
    0. The cosines never exist all at once: a block of classes is multiplied at a time, for the value and for the
    gradient, in four products.

    Args:
        pred: embeddings (rows, features), of any length, floating.
        kernel: a proxy of each class in a column (features, classes), of any length, floating, as Flax's `Dense` and
            `Linear` keep their weights.
        target: class indices in [0, classes), integer, (rows,). An index out of range, also a negative one, gives NaN
            in value and gradient.
        margin: at least 0, from which cosine on a row of the class costs less than log 2, and up to which negative one
            any other. May be traced.
        scale: greater than 0, the factor of cosines. May be traced.
        chunk_size: how many classes a block takes, each with all rows; a Python integer. None for 1/256 of them, but at
            least 512. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a cosine is one of 0.13 at a scale of 32.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the loss is of the rows of
            all devices. None on one device, and under `jit`.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `kernel`. Indices count all classes. None if each device has
            all, and under `jit`.
        sample_weight: a number at least 0: the loss times it. 0 hides the loss. None for 1. May be traced.
        where: booleans (rows,); a row where it is False is left out, as if it were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        One number; float32 for half-precision inputs. 0 where no row is left.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, an axis of no mesh, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range.

    PyTorch: none.

    Elsewhere: the authors' Proxy_Anchor, with `mrg` and `alpha`; pytorch-metric-learning's ProxyAnchorLoss, which is
    this one with its default reducer.

    Reference: S. Kim et al., Proxy Anchor Loss for Deep Metric Learning, arXiv:2003.13911.

    >>> rows, proxies = jnp.array([[1.0, 0.0], [1.0, 1.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(f"{proxy_anchor_loss(rows, proxies, jnp.array([0, 1]), scale=4.0):.4f}")
    2.1459
    """
    # The mask hides rows, not the one loss.
    call = Call("proxy_anchor_loss", sample_weight, None, reduction, class_axis_name=class_axis_name)
    call.axis_name = call.mesh_axes(axis_name=axis_name)
    rows, kernel = _rows_of_classes(call, where, pred, kernel, target)
    margin, scale = call.numbers(call.nonnegative(margin=margin), call.positive(scale=scale))
    chunk_size, precision = call.chunk_size(chunk_size), call.precision(precision)

    chunk_size = chunk_size or max(512, kernel.shape[1] // 256)
    pairs = Pairs(_proxy_anchor_terms, (LOG_SUM_EXP_OF_KEYS,) * 2, True, chunk_size, precision, call.dtype)
    axes, numbers = Axes(call.axis_name, call.class_axis_name), {"margin": margin, "scale": scale}
    return call.reduce(of_proxies(axes, functools.partial(_proxy_anchor, pairs), kernel, rows, numbers))


def _with_proxies(call: Call, pred: Any, kernel: Any, target: Any) -> tuple[Array, Array, Array]:
    """Rows (*batch, features), a proxy a column, and the class of each row; one loss a row."""
    call.not_swapped(pred=pred, target=target)
    pred, kernel, _ = call.dense(pred, kernel, None)
    pred, target, classes = call.labelled_features(ONE_HOT, pred, kernel, target)
    call.check_labels(target, classes)
    return pred, kernel, target


def _rows_of_classes(call: Call, where: Any, pred: Any, kernel: Any, target: Any) -> tuple[dict[str, Array], Array]:
    """Rows and the class of each, and a proxy a column; the batch has one loss."""
    call.not_swapped(pred=pred, target=target)
    pred, kernel, _ = call.dense(pred, kernel, None)
    call.require_shape("`pred` must have the shape (rows, features)", pred, (None, None))
    target = call.integers(pred.shape[:1], "class indices", target, ONE_HOT)
    call.parts("axis_name", call.axis_name, pred=pred, target=target)
    keep = call.mask(pred.shape[:1], "the rows", where=where)
    keep = jnp.ones_like(target, bool) if keep is None else keep
    pred, target = jnp.where(keep[:, None], pred, jnp.zeros((), pred.dtype)), jnp.where(keep, target, 0)
    call.hide((), single_precision(kernel).dtype, any_over(call.axis_name, jnp.any(keep)))
    call.check_labels(target, call.count_classes(1, kernel=kernel))
    return {"x": pred, "labels": target, "keep": keep}, kernel


def _proxy_anchor_terms(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> tuple[Array, ...]:
    """-inf where a row is not of the class, and where it is."""
    is_of_class = anchors["labels"] == keys["classes"]
    margin, scale = numbers["margin"], numbers["scale"]
    return (
        jnp.where(anchors["keep"] & is_of_class, -scale * (similarity - margin), -jnp.inf),
        jnp.where(anchors["keep"] & ~is_of_class, scale * (similarity + margin), -jnp.inf),
    )


def _proxy_anchor(pairs: Pairs, axes: Axes, kernel: Array, rows: dict[str, Array], numbers: Any) -> Array:
    shard = Shard(kernel.shape[1], axes.classes)
    anchors = {name: rows[name] for name in ("labels", "keep")}
    classes = {"classes": shard.indices().astype(rows["labels"].dtype)}
    of_rows = pair_sums(pairs, rows["x"], kernel.T, numbers, anchors, classes)
    like, unlike = (log_sum_exp_over(axes.rows, log_sums) for log_sums in of_rows)

    has_rows = like != -jnp.inf
    attracted = jnp.sum(jnp.where(has_rows, softplus(like), 0.0))
    sums = sum_over(axes.classes, attracted, jnp.sum(has_rows, dtype=like.dtype), jnp.sum(softplus(unlike)))
    attracted, count, repelled = sums
    is_wrong = any_over(axes.rows, jnp.any(~is_class(rows["labels"], shard.total)))
    return (safe_divide(attracted, count) + repelled / shard.total) * nan_unless(~is_wrong)


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
