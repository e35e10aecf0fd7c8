"""Contrastive learning: rows compared with rows, of which like ones should be close and all others far.

Whatever the size of the batch, no matrix of all pairs exists, neither in the value nor in the gradient.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Integer, Real

from jaxloss._call import Call
from jaxloss._contracts.arrays import single_precision
from jaxloss._eager import compiled_when_eager
from jaxloss._kernels.pairwise import (
    LOG_SUM_EXP,
    LOG_SUM_EXP_OF_KEYS,
    SUM,
    Mesh,
    Pairs,
    log_add,
    log_sum_exp,
    of_rows,
    pair_sums,
)
from jaxloss._numerics.logistic import softplus
from jaxloss._numerics.norms import distances, unit_rows
from jaxloss._numerics.safe import fill_masked, nan_unless, safe_divide
from jaxloss._typing import ArrayLike, AxisName
from jaxloss.reductions import Reduction

Similarity = Literal["cosine", "dot"]
FOR_LABELS = "For rows with integer labels use supcon_loss."


@compiled_when_eager
def info_nce_loss(
    pred: Float[ArrayLike, "rows features"],
    target: Float[ArrayLike, "rows features"],
    *,
    negatives: Float[ArrayLike, "*negatives features"] | None = None,
    temperature: Real[ArrayLike, ""] = 0.07,
    similarity: Similarity = "cosine",
    ids: Integer[ArrayLike, " rows"] | None = None,
    negative_ids: Integer[ArrayLike, "*negatives"] | None = None,
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#anchors"] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Each row must find its partner among the partners of all, which are its negatives:

        s_ij   = similarity(pred_i, target_j) / temperature
        loss_i = log(sum_j exp(s_ij)) - s_ii

    It is the loss of retrieval, in one direction: of queries and documents, of a row and a queue. It is computed from
    the negatives alone, as log(1 + sum_{j != i} exp(s_ij - s_ii)), so that a small one keeps its digits.

    Value and gradient take four products of all pairs, the value alone one. Only a block of similarities exists at a
    time.

    Args:
        pred: anchors (rows, features), floating.
        target: rows to compare them with, floating, of exactly the shape of `pred`: row i belongs to row i.
        negatives: more rows to tell the anchors from, floating: (m, features) for all of them, or (rows, k, features),
            k for each. With `axis_name`, those for all lie over the devices, each of which has a part. None for no
            more.
        temperature: greater than 0, what similarities are divided by; a learned one is `jnp.exp(-log_scale)`. May be
            traced.
        similarity: "cosine", of rows that are normalised in float32 whatever their scale, a row of zeros being similar
            to none; or "dot", of the rows as they are.
        ids: integers (rows,): what a row of `target` is of. Pairs of equal ids off the diagonal are left out: a
            duplicate is no negative. None if all differ.
        negative_ids: integers (m,) or (rows, k): what the `negatives` are of; those of an anchor's own id are left out.
            They need `ids`.
        chunk_size: how many keys a block takes, each with all anchors; a Python integer. None for 1/64 of them, but at
            least 128. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a similarity is one of 0.4 at a temperature of 0.01.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the loss is of the rows of
            all devices, and its mean and sum are over all. None on one device, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each anchor's loss times its weight, and
            the mean divides by their sum. A row of weight 0 is still compared with. None for 1 each. May be traced.
        where: booleans (rows,); a row where it is False is left out, as anchor, as positive and as negative, as if it
            were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss an anchor, of shape (rows,); float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `similarity` or
            `reduction`.

    PyTorch: none.

    Elsewhere: sentence-transformers' MultipleNegativesRankingLoss has `scale`, 1/temperature, 20, and takes the
    negatives of all; pytorch-metric-learning's NTXentLoss on labels is a mean over positive pairs with other positives
    left out.

    Reference: A. van den Oord et al., Representation Learning with Contrastive Predictive Coding, arXiv:1807.03748;
    M. Henderson et al., Efficient Natural Language Response Suggestion for Smart Reply, arXiv:1705.00652.

    >>> queries, documents = jnp.eye(3), jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    >>> print(f"{info_nce_loss(queries, documents, temperature=0.5):.4f}")
    0.3872
    """
    call = Call("info_nce_loss", sample_weight, where, reduction, axis_name=axis_name)
    rows = _views(call, where, FOR_LABELS, pred, target)
    rows |= _ids(call, rows["x"].shape[:1], ids=ids)
    shared = _more_negatives(call, rows, negatives, negative_ids)
    how = _how(call, similarity, chunk_size, precision)
    (numbers,) = call.numbers(call.positive(temperature=temperature))
    return call.reduce(
        of_rows(call.axis_name, functools.partial(_info_nce, how), rows, shared, {"temperature": numbers})
    )


@compiled_when_eager
def clip_loss(
    pred: Float[ArrayLike, "rows features"],
    target: Float[ArrayLike, "rows features"],
    *,
    temperature: Real[ArrayLike, ""] = 0.07,
    similarity: Similarity = "cosine",
    ids: Integer[ArrayLike, " rows"] | None = None,
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#anchors"] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Each row must find its partner among the partners of all, in both directions:

        s_ij   = similarity(pred_i, target_j) / temperature
        loss_i = (log(sum_j exp(s_ij)) + log(sum_j exp(s_ji)) - 2 s_ii) / 2

    It is half of `info_nce_loss` of both directions, from one matrix of similarities: value and gradient take four
    products of all pairs, and only a block of similarities exists at a time. CLIP learns the temperature, from 0.07 on,
    and holds it at 0.01 or more: `jnp.exp(-jnp.minimum(log_scale, jnp.log(100)))`.

    Args:
        pred: rows (rows, features), floating.
        target: rows to compare them with, floating, of exactly the shape of `pred`: row i belongs to row i.
        temperature: greater than 0, what similarities are divided by; a learned one is `jnp.exp(-log_scale)`. May be
            traced.
        similarity: "cosine", of rows that are normalised in float32 whatever their scale, a row of zeros being similar
            to none; or "dot", of the rows as they are.
        ids: integers (rows,): what a row of `target` is of. Pairs of equal ids off the diagonal are left out: a
            duplicate is no negative. None if all differ.
        chunk_size: how many keys a block takes, each with all anchors; a Python integer. None for 1/64 of them, but at
            least 128. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a similarity is one of 0.4 at a temperature of 0.01.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the loss is of the rows of
            all devices, and its mean and sum are over all. None on one device, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each anchor's loss times its weight, and
            the mean divides by their sum. A row of weight 0 is still compared with. None for 1 each. May be traced.
        where: booleans (rows,); a row where it is False is left out, as anchor, as positive and as negative, as if it
            were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a pair, of shape (rows,); float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `similarity` or
            `reduction`.

    PyTorch: none.

    Elsewhere: open_clip's ClipLoss takes normalised rows, and `logit_scale`, 1/temperature. Its default on several
    devices gives the rows one by the number of devices of their gradient, and the scale the whole.

    Reference: A. Radford et al., Learning Transferable Visual Models From Natural Language Supervision,
    arXiv:2103.00020.

    >>> images, texts = jnp.eye(3), jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    >>> print(f"{clip_loss(images, texts, temperature=0.5):.4f}")
    0.4081
    """
    call = Call("clip_loss", sample_weight, where, reduction, axis_name=axis_name)
    rows = _views(call, where, FOR_LABELS, pred, target)
    rows |= _ids(call, rows["x"].shape[:1], ids=ids)
    how = _how(call, similarity, chunk_size, precision)
    (numbers,) = call.numbers(call.positive(temperature=temperature))
    return call.reduce(of_rows(call.axis_name, functools.partial(_clip, how), rows, {}, {"temperature": numbers}))


@compiled_when_eager
def siglip_loss(
    pred: Float[ArrayLike, "rows features"],
    target: Float[ArrayLike, "rows features"],
    *,
    temperature: Real[ArrayLike, ""] = 0.1,
    logit_bias: Real[ArrayLike, ""] = -10.0,
    similarity: Similarity = "cosine",
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#anchors"] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Each pair of rows is alike or not, a question of its own:

        x_ij   = similarity(pred_i, target_j) / temperature + logit_bias
        loss_i = log(1 + exp(-x_ii)) + sum_{j != i} log(1 + exp(x_ij))

    The mean is the sum over all pairs by the number of rows, not by that of pairs. Rows need no sum over all others
    before there is a gradient, but for the norm. Only a block of similarities exists at a time. SigLIP learns
    `jnp.exp(-log_scale)` and the bias, from 0.1 and -10 on.

    Args:
        pred: rows (rows, features), floating.
        target: rows to compare them with, floating, of exactly the shape of `pred`: row i belongs to row i.
        temperature: greater than 0, what similarities are divided by; a learned one is `jnp.exp(-log_scale)`. May be
            traced.
        logit_bias: a number, which is added to the logits. May be traced.
        similarity: "cosine", of rows that are normalised in float32 whatever their scale, a row of zeros being similar
            to none; or "dot", of the rows as they are.
        chunk_size: how many keys a block takes, each with all anchors; a Python integer. None for 1/64 of them, but at
            least 128. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a similarity is one of 0.4 at a temperature of 0.01.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the loss is of the rows of
            all devices, and its mean and sum are over all. None on one device, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each anchor's loss times its weight, and
            the mean divides by their sum. A row of weight 0 is still compared with. None for 1 each. May be traced.
        where: booleans (rows,); a row where it is False is left out, as anchor, as positive and as negative, as if it
            were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss an anchor, the sum over its pairs, of shape (rows,); float32 for half-precision
        inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `similarity` or
            `reduction`.

    PyTorch: none.

    Elsewhere: open_clip's SigLipLoss takes normalised rows, `logit_scale`, 1/temperature, and `logit_bias`; big_vision
    has the same mean.

    Reference: X. Zhai et al., Sigmoid Loss for Language Image Pre-Training, arXiv:2303.15343.

    >>> images, texts = jnp.eye(3), jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    >>> print(f"{siglip_loss(images, texts):.4f}")
    1.4732
    """
    call = Call("siglip_loss", sample_weight, where, reduction, axis_name=axis_name)
    rows = _views(call, where, FOR_LABELS, pred, target)
    how = _how(call, similarity, chunk_size, precision)
    numbers = call.numbers(call.positive(temperature=temperature), call.any_number(logit_bias=logit_bias))
    numbers = dict(zip(("temperature", "bias"), numbers, strict=True))
    return call.reduce(of_rows(call.axis_name, functools.partial(_siglip, how), rows, {}, numbers))


@compiled_when_eager
def ntxent_loss(
    pred: Float[ArrayLike, "rows features"],
    target: Float[ArrayLike, "rows features"],
    *,
    temperature: Real[ArrayLike, ""] = 0.1,
    similarity: Similarity = "cosine",
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#anchors"] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Each of two views of a row must find the other among both views of all rows (SimCLR):

        x      = the 2 n rows of both views,  s_ij = similarity(x_i, x_j) / temperature
        loss_i = log(sum_{j != i} exp(s_ij)) - s_ip,  p the other view of i

    The normalised temperature-scaled cross-entropy. It is `supcon_loss` where each label stands twice.

    Args:
        pred: one view of each row (rows, features), floating.
        target: the other view, floating, of exactly the shape of `pred`.
        temperature: greater than 0, what similarities are divided by; a learned one is `jnp.exp(-log_scale)`. May be
            traced.
        similarity: "cosine", of rows that are normalised in float32 whatever their scale, a row of zeros being similar
            to none; or "dot", of the rows as they are.
        chunk_size: how many keys a block takes, each with all anchors; a Python integer. None for 1/64 of them, but at
            least 128. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a similarity is one of 0.4 at a temperature of 0.01.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the loss is of the rows of
            all devices, and its mean and sum are over all. None on one device, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each anchor's loss times its weight, and
            the mean divides by their sum. A row of weight 0 is still compared with. None for 1 each. May be traced.
        where: booleans (rows,); a row where it is False is left out, as anchor, as positive and as negative, as if it
            were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss a view, of shape (2, rows); float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; integer targets are refused.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `similarity` or
            `reduction`.

    PyTorch: none.

    Elsewhere: `optax.losses.ntxent` and pytorch-metric-learning's NTXentLoss take labels; where each stands twice they
    are this loss, at a temperature of 0.07. lightly's NTXentLoss has 0.5.

    Reference: T. Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, arXiv:2002.05709.

    >>> one, other = jnp.eye(3), jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    >>> print(f"{ntxent_loss(one, other, temperature=0.5):.4f}")
    0.6903
    """
    call = Call("ntxent_loss", sample_weight, where, reduction, axis_name=axis_name)
    rows = _views(call, where, FOR_LABELS, pred, target, views=2)
    how = _how(call, similarity, chunk_size, precision)
    (numbers,) = call.numbers(call.positive(temperature=temperature))
    of_views = of_rows(call.axis_name, functools.partial(_ntxent, how), rows, {}, {"temperature": numbers})
    return call.reduce(jnp.stack(of_views))


@compiled_when_eager
def supcon_loss(
    pred: Float[ArrayLike, "rows features"],
    target: Integer[ArrayLike, " rows"],
    *,
    temperature: Real[ArrayLike, ""] = 0.1,
    similarity: Similarity = "cosine",
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#anchors"] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Rows of one label must find each other among all rows:

        s_ij   = similarity(pred_i, pred_j) / temperature
        loss_i = log(sum_{j != i} exp(s_ij)) - mean_{p != i, target_p = target_i} s_ip

    The mean over positives stands outside of the logarithm, the form "out" of the paper. An anchor whose label no other
    row has is a negative of the others, but its own loss is 0 and does not count.

    Args:
        pred: rows (rows, features), floating.
        target: integer labels (rows,): rows of equal labels are alike.
        temperature: greater than 0, what similarities are divided by; a learned one is `jnp.exp(-log_scale)`. May be
            traced.
        similarity: "cosine", of rows that are normalised in float32 whatever their scale, a row of zeros being similar
            to none; or "dot", of the rows as they are.
        chunk_size: how many keys a block takes, each with all anchors; a Python integer. None for 1/64 of them, but at
            least 128. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a similarity is one of 0.4 at a temperature of 0.01.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the loss is of the rows of
            all devices, and its mean and sum are over all. None on one device, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each anchor's loss times its weight, and
            the mean divides by their sum. A row of weight 0 is still compared with. None for 1 each. May be traced.
        where: booleans (rows,); a row where it is False is left out, as anchor, as positive and as negative, as if it
            were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss an anchor, of shape (rows,); float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; floating targets are refused.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `similarity` or
            `reduction`.

    PyTorch: none.

    Elsewhere: SupContrast multiplies by temperature/0.07, and divides by all anchors; pytorch-metric-learning's
    SupConLoss divides by how many losses are greater than 0.

    Reference: P. Khosla et al., Supervised Contrastive Learning, arXiv:2004.11362.

    >>> rows = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
    >>> print(f"{supcon_loss(rows, jnp.array([0, 0, 1, 2]), temperature=0.5):.4f}")
    0.5360
    """
    call = Call("supcon_loss", sample_weight, where, reduction, axis_name=axis_name)
    rows = _labelled(call, where, pred, target)
    how = _how(call, similarity, chunk_size, precision)
    (numbers,) = call.numbers(call.positive(temperature=temperature))
    return call.reduce(*of_rows(call.axis_name, functools.partial(_supcon, how), rows, {}, {"temperature": numbers}))


@compiled_when_eager
def multi_similarity_loss(
    pred: Float[ArrayLike, "rows features"],
    target: Integer[ArrayLike, " rows"],
    *,
    alpha: Real[ArrayLike, ""] = 2.0,
    beta: Real[ArrayLike, ""] = 50.0,
    base: Real[ArrayLike, ""] = 0.5,
    similarity: Similarity = "cosine",
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#anchors"] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Rows of one label must be more similar than a base, those of others less, the hardest first:

        s_ij   = similarity(pred_i, pred_j),  P_i, N_i = the other rows of the label of i, and of other labels
        loss_i = 1/alpha log(1 + sum_{j in P_i} exp(-alpha (s_ij - base)))
                 + 1/beta log(1 + sum_{j in N_i} exp(beta (s_ij - base)))

    All anchors count, also those without positives or negatives, for which the term is 0. Pairs are not mined.

    Args:
        pred: rows (rows, features), floating.
        target: integer labels (rows,): rows of equal labels are alike.
        alpha: greater than 0, how sharply positives are weighed. May be traced.
        beta: greater than 0, how sharply negatives are weighed. May be traced.
        base: the similarity that divides them. May be traced.
        similarity: "cosine", of rows that are normalised in float32 whatever their scale, a row of zeros being similar
            to none; or "dot", of the rows as they are.
        chunk_size: how many keys a block takes, each with all anchors; a Python integer. None for 1/64 of them, but at
            least 128. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a similarity is one of 0.4 at a temperature of 0.01.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the loss is of the rows of
            all devices, and its mean and sum are over all. None on one device, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each anchor's loss times its weight, and
            the mean divides by their sum. A row of weight 0 is still compared with. None for 1 each. May be traced.
        where: booleans (rows,); a row where it is False is left out, as anchor, as positive and as negative, as if it
            were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss an anchor, of shape (rows,); float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; floating targets are refused.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `similarity` or
            `reduction`.

    PyTorch: none.

    Elsewhere: pytorch-metric-learning's MultiSimilarityLoss, with the same defaults.

    Reference: X. Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning,
    arXiv:1904.06627.

    >>> rows = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
    >>> print(f"{multi_similarity_loss(rows, jnp.array([0, 0, 1, 2])):.4f}")
    0.2856
    """
    call = Call("multi_similarity_loss", sample_weight, where, reduction, axis_name=axis_name)
    rows = _labelled(call, where, pred, target)
    how = _how(call, similarity, chunk_size, precision)
    options = call.positive(alpha=alpha), call.positive(beta=beta), call.any_number(base=base)
    numbers = dict(zip(("alpha", "beta", "base"), call.numbers(*options), strict=True))
    return call.reduce(of_rows(call.axis_name, functools.partial(_multi_similarity, how), rows, {}, numbers))


@compiled_when_eager
def circle_loss(
    pred: Float[ArrayLike, "rows features"],
    target: Integer[ArrayLike, " rows"],
    *,
    margin: Real[ArrayLike, ""] = 0.4,
    gamma: Real[ArrayLike, ""] = 80.0,
    similarity: Similarity = "cosine",
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#anchors"] | None = None,
    where: Bool[ArrayLike, "*#rows"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Pairs of unlike rows must be less similar than those of like rows, each weighed by how far it is off:

        s_ij   = similarity(pred_i, pred_j),  P_i, N_i = the other rows of the label of i, and of other labels
        p_ij   = -gamma max(0, 1 + margin - s_ij) (s_ij - 1 + margin),  n_ij = gamma max(0, s_ij + margin) (s_ij -
        margin) loss_i = log(1 + sum_{j in N_i} exp(n_ij) sum_{j in P_i} exp(p_ij))

    No gradient flows through the weights, the factors max(0, ...). The loss of an anchor without positives or without
    negatives is 0 and does not count.

    Args:
        pred: rows (rows, features), floating.
        target: integer labels (rows,): rows of equal labels are alike.
        margin: at least 0, how far the optimum of each kind may be missed; 0.25 for faces. May be traced.
        gamma: greater than 0, the scale of similarities; 256 for faces. May be traced.
        similarity: "cosine", of rows that are normalised in float32 whatever their scale, a row of zeros being similar
            to none; or "dot", of the rows as they are.
        chunk_size: how many keys a block takes, each with all anchors; a Python integer. None for 1/64 of them, but at
            least 128. A smaller one needs less memory, a larger one may be faster.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16:
            an error of 0.004 in a similarity is one of 0.4 at a temperature of 0.01.
        axis_name: inside `shard_map`, the mesh axis, or several, over which the rows lie: the loss is of the rows of
            all devices, and its mean and sum are over all. None on one device, and under `jit`.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each anchor's loss times its weight, and
            the mean divides by their sum. A row of weight 0 is still compared with. None for 1 each. May be traced.
        where: booleans (rows,); a row where it is False is left out, as anchor, as positive and as negative, as if it
            were deleted.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or one loss an anchor, of shape (rows,); float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; floating targets are refused.
        ValueError: a Python number out of its domain, an `axis_name` of no mesh, or an unknown `similarity` or
            `reduction`.

    PyTorch: none.

    Elsewhere: pytorch-metric-learning's CircleLoss, `m` and `gamma`, with a mean over the losses greater than 0.

    Reference: Y. Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization, arXiv:2002.10857.

    >>> rows = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
    >>> print(f"{circle_loss(rows, jnp.array([0, 0, 1, 2])):.4f}")
    10.6328
    """
    call = Call("circle_loss", sample_weight, where, reduction, axis_name=axis_name)
    rows = _labelled(call, where, pred, target)
    how = _how(call, similarity, chunk_size, precision)
    margin, gamma = call.numbers(call.nonnegative(margin=margin), call.positive(gamma=gamma))
    numbers = {"margin": margin, "gamma": gamma}
    return call.reduce(*of_rows(call.axis_name, functools.partial(_circle, how), rows, {}, numbers))


@compiled_when_eager
def contrastive_loss(
    input1: Float[ArrayLike, "*batch features"],
    input2: Float[ArrayLike, "*batch features"],
    target: Float[ArrayLike, "*batch"],
    *,
    margin: Real[ArrayLike, ""] = 1.0,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""Pairs that are alike must be close, those that are not must be apart by a margin (Hadsell):

        d    = ||input1 - input2||_2
        loss = d^2                      if target is 1
               max(margin - d, 0)^2     if target is -1

    Row i is compared with row i alone; for all pairs of a batch there is `supcon_loss`. Where the points coincide the
    gradient is 0.

    Args:
        input1: embeddings on the last axis, floating.
        input2: embeddings to compare them with, floating, of exactly the shape of `input1`.
        target: 1 for a pair that is alike, -1 for one that is not, floating, of the shape of `input1` without its last
            axis. Anything else gives NaN in value and gradient.
        margin: greater than 0, the distance from which on a pair that is not alike costs nothing. May be traced.
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

    PyTorch: none.

    Elsewhere: the paper has half of it; pytorch-metric-learning's ContrastiveLoss does not square, and adds up two
    means over what is not 0; sentence-transformers has half of it, of cosine distances, with a margin of 0.5.

    Reference: R. Hadsell et al., Dimensionality Reduction by Learning an Invariant Mapping, 2006,
    doi:10.1109/CVPR.2006.100.

    >>> x, y = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[1.0, 0.5], [1.0, 0.5]])
    >>> print(f"{contrastive_loss(x, y, jnp.array([1.0, -1.0])):.4f}")
    0.2500
    """
    call = Call("contrastive_loss", sample_weight, where, reduction)
    input1, input2 = call.vectors(None, "the features", input1=input1, input2=input2)
    target = call.floating([input1.shape[:-1]], "One number a pair.", target=target)
    (target,) = call.visible(1.0, target)
    target = call.signs("For labels 0 and 1: 2 * target - 1.", target=target)
    margin = call.positive(margin=margin)

    (distance,) = distances(2.0, 0.0, (input1, input2))
    missing = jnp.where(distance >= margin, 0.0, margin - distance)  # So that NaN stays, in the gradient too.
    return call.reduce(jnp.square(jnp.where(target == -1, missing, distance)) * nan_unless(~jnp.isnan(target)))


# What is made of all pairs: in `_kernels.pairwise`, a block at a time.


class _How(NamedTuple):
    """What Python knows of a comparison."""

    is_cosine: bool
    chunk_size: int | None
    precision: Any
    dtype: Any


def _views(call: Call, where: Any, hint: str, pred: Any, target: Any, views: int = 1) -> dict[str, Array]:
    """Two arrays of rows, which lie on the mesh as they do; zeros where they are hidden."""
    pred, target = call.floats_as_given(hint, pred=pred, target=target)
    keep = _begin(call, where, views, pred=pred, target=target)
    hidden = fill_masked(keep if keep is None else keep[:, None], 0.0, pred, target)
    return dict(zip(("x", "y"), hidden, strict=True)) | _unless_none(keep=keep)


def _labelled(call: Call, where: Any, pred: Any, target: Any) -> dict[str, Array]:
    """Rows and the integer of each."""
    call.not_swapped(pred=pred, target=target)
    (pred,) = call.floats_as_given(pred=pred)
    keep = _begin(call, where, 1, pred=pred)
    target = call.integers(
        (pred.shape[0],), "labels", target, "For two views of each row use ntxent_loss or clip_loss."
    )
    (pred,) = fill_masked(keep if keep is None else keep[:, None], 0.0, pred)
    return {"x": pred, "labels": target} | _unless_none(keep=keep)


def _begin(call: Call, where: Any, views: int, **arrays: Array) -> Array | None:
    """Which rows there are; a weight of 0 hides the loss of an anchor, and no row."""
    for name, array in arrays.items():
        call.require_shape(f"`{name}` must have the shape (rows, features)", array, (None, None))
    call.parts("axis_name", call.axis_name, **arrays)
    (array, *_) = arrays.values()
    keep = call.mask((array.shape[0],), where=where)
    shape = (array.shape[0],) if views == 1 else (views, array.shape[0])
    call.hide(shape, single_precision(array).dtype)
    return keep


def _unless_none(**arrays: Array | None) -> dict[str, Array]:
    return {name: array for name, array in arrays.items() if array is not None}


def _more_negatives(call: Call, rows: dict[str, Array], negatives: Any, negative_ids: Any) -> dict[str, Array]:
    """Those of each row join the rows; those for all are returned."""
    if negatives is None:
        if negative_ids is not None:
            raise ValueError(f"{call.function}: `negative_ids` say what `negatives` are of, which are missing.")
        return {}
    (negatives,) = call.floats_as_given(negatives=negatives)
    count, features = rows["x"].shape
    of_each = negatives.ndim == 3
    needed = f"`negatives` must have the shape (m, {features}), for all rows, or ({count}, k, {features}), for each"
    call.require_shape(needed, negatives, (count, None, features) if of_each else (None, features))
    known = _ids(call, negatives.shape[:-1], negative_ids=negative_ids)
    if known and "ids" not in rows:
        raise ValueError(f"{call.function}: `negative_ids` are compared with `ids`, which are missing.")
    if not of_each:
        call.parts("axis_name", call.axis_name, negatives=negatives)
        return {"negatives": negatives} | known
    negatives = fill_masked(rows["keep"][:, None, None] if "keep" in rows else None, 0.0, negatives)[0]
    rows |= {"negatives": negatives, **({"negative_ids": known["ids"]} if known else {})}
    return {}


def _ids(call: Call, shape: tuple[int, ...], **options: Any) -> dict[str, Array]:
    ((name, value),) = options.items()
    hint = "Rows of equal ids are no negatives of each other."
    return {} if value is None else {"ids": call.integers(shape, "ids", value, hint, name)}


def _how(call: Call, similarity: str, chunk_size: int | None, precision: Any) -> _How:
    if similarity not in ("cosine", "dot"):
        raise ValueError(f'{call.function}: `similarity` must be "cosine" or "dot", got {similarity!r}.')
    return _How(similarity == "cosine", call.chunk_size(chunk_size), call.precision(precision), call.dtype)


_KNOWN = "row", "index", "keep", "ids", "labels"


def _sums(
    how: _How, mesh: Mesh, rows: dict[str, Array], numbers: dict[str, Array], terms: Any, *kinds: str
) -> tuple[Array, ...]:
    """Of each anchor over the keys of all devices."""
    known = {"index": mesh.indices(rows["x"])} | rows
    known = {name: known[name] for name in _KNOWN if name in known}
    pairs, x, keys = Pairs(terms, kinds, *how), rows["x"], rows.get("y")
    if mesh.is_large(x):
        pairs = pairs._replace(axis_name=mesh.axis_name)
    elif mesh.axis_name is not None:
        keys = mesh.gathered(x if keys is None else keys)
    return pair_sums(pairs, x, keys, numbers, known, mesh.gathered(known))


def _logits(similarity: Array, numbers: dict[str, Array]) -> Array:
    logits = similarity / numbers["temperature"]
    return logits + numbers["bias"] if "bias" in numbers else logits


def _is_other(anchors: dict[str, Array], keys: dict[str, Array]) -> Array:
    """Whether two rows are there, and not the same one."""
    is_other = anchors["index"] != keys["index"]
    return is_other & anchors["keep"] & keys["keep"] if "keep" in keys else is_other


def _other_logits(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> Array:
    """-inf where a pair is no anchor and its negative."""
    is_negative = _is_other(anchors, keys)
    if "ids" in keys:
        is_negative &= anchors["ids"] != keys["ids"]
    return jnp.where(is_negative, _logits(similarity, numbers), -jnp.inf)


def _own_logits(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> Array:
    """0 where a pair is no anchor and its positive."""
    return jnp.where(anchors["index"] == keys["index"], _logits(similarity, numbers), 0.0)


def _retrieval_terms(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> tuple[Array, ...]:
    given = similarity, numbers, anchors, keys
    return _other_logits(*given), _own_logits(*given)


def _clip_terms(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> tuple[Array, ...]:
    others, own = _retrieval_terms(similarity, numbers, anchors, keys)
    return others, others, own


def _siglip_terms(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> tuple[Array, ...]:
    logits = _other_logits(similarity, numbers, anchors, keys)
    return (softplus(jnp.where(anchors["index"] == keys["index"], -_logits(similarity, numbers), logits)),)


def _ntxent_terms(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> tuple[Array, ...]:
    """Of rows of both views, which share an index."""
    others, own = _retrieval_terms(similarity, numbers, anchors, keys)
    return others, jnp.where(anchors["row"] == keys["row"], 0.0, own)


def _shared_negatives(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> tuple[Array, ...]:
    """Of rows that are no part of the batch."""
    logits = _logits(similarity, numbers)
    return (jnp.where(anchors["ids"] != keys["ids"], logits, -jnp.inf) if "ids" in keys else logits,)


def _info_nce(how: _How, mesh: Mesh, rows: dict[str, Array], shared: dict[str, Array], numbers: Any) -> Array:
    log_sum, own = _sums(how, mesh, rows, numbers, _retrieval_terms, LOG_SUM_EXP, SUM)
    x, log_sums = rows["x"], [log_sum]
    if "negatives" in shared:
        keys = shared if mesh.is_explicit else mesh.gathered(shared)
        known = {name: each for name, each in keys.items() if name == "ids"}
        pairs = Pairs(_shared_negatives, (LOG_SUM_EXP,), *how)
        log_sums += pair_sums(pairs, x, keys["negatives"], numbers, {name: rows[name] for name in known}, known)
    if "negatives" in rows:
        logits = _logits(_similarity(how, x[:, None], rows["negatives"]), numbers)
        if "negative_ids" in rows:
            logits = jnp.where(rows["ids"][:, None] != rows["negative_ids"], logits, -jnp.inf)
        log_sums.append(log_sum_exp(logits))
    return softplus(log_add(*log_sums) - own)


def _similarity(how: _How, x: Array, y: Array) -> Array:
    """Of the rows of one array to those of another."""
    x, y = (single_precision(rows) for rows in (x, y))
    return jnp.sum(unit_rows(x) * unit_rows(y) if how.is_cosine else x * y, -1)


def _clip(how: _How, mesh: Mesh, rows: dict[str, Array], shared: Any, numbers: Any) -> Array:
    kinds = LOG_SUM_EXP, LOG_SUM_EXP_OF_KEYS, SUM
    of_anchors, of_keys, own = _sums(how, mesh, rows, numbers, _clip_terms, *kinds)
    return (softplus(of_anchors - own) + softplus(mesh.own(of_keys, own) - own)) / 2


def _siglip(how: _How, mesh: Mesh, rows: dict[str, Array], shared: Any, numbers: Any) -> Array:
    (losses,) = _sums(how, mesh, rows, numbers, _siglip_terms, SUM)
    return losses


def _ntxent(how: _How, mesh: Mesh, rows: dict[str, Array], shared: Any, numbers: Any) -> tuple[Array, Array]:
    """Neither a row nor its other view, of the same index, is its negative."""
    index = mesh.indices(rows["x"])
    twice = {"x": jnp.concatenate([rows["x"], rows["y"]]), "index": jnp.tile(index, 2)}
    twice["row"] = jnp.concatenate([2 * index, 2 * index + 1])
    if "keep" in rows:
        twice["keep"] = jnp.tile(rows["keep"], 2)
    log_sums, own = _sums(how, mesh, twice, numbers, _ntxent_terms, LOG_SUM_EXP, SUM)
    one, other = jnp.split(softplus(log_sums - own), 2)
    return one, other


def _like_and_unlike(anchors: dict[str, Array], keys: dict[str, Array]) -> tuple[Array, Array]:
    is_other, is_like = _is_other(anchors, keys), anchors["labels"] == keys["labels"]
    return is_other & is_like, is_other & ~is_like


def _supcon_terms(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> tuple[Array, ...]:
    logits, (is_like, is_unlike) = _logits(similarity, numbers), _like_and_unlike(anchors, keys)
    like, unlike = (jnp.where(each, logits, -jnp.inf) for each in (is_like, is_unlike))
    return like, unlike, jnp.where(is_like, logits, 0.0), is_like.astype(logits.dtype)


def _supcon(how: _How, mesh: Mesh, rows: dict[str, Array], shared: Any, numbers: Any) -> tuple[Array, Array]:
    """And whether an anchor has positives. Where one is far above the rest, both terms keep their digits.

    A positive that is alone is pulled by its share of the softmax less 1, of which float32 keeps no digit where the
    share is next to 1: there the loss is of the negatives' share alone, as that of two views.
    """
    kinds = LOG_SUM_EXP, LOG_SUM_EXP, SUM, SUM
    like, unlike, positives, counts = _sums(how, mesh, rows, numbers, _supcon_terms, *kinds)
    counts = jax.lax.stop_gradient(counts)
    has_positives = counts > 0
    like, unlike = (jnp.where(has_positives, each, 0.0) for each in (like, unlike))
    of_many = like - safe_divide(positives, counts) + softplus(unlike - like)
    losses = jnp.where(counts == 1, softplus(unlike - positives), of_many)
    return jnp.where(has_positives, losses, 0.0), has_positives.astype(losses.dtype)


def _multi_similarity_terms(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> tuple[Array, ...]:
    is_like, is_unlike = _like_and_unlike(anchors, keys)
    above = similarity - numbers["base"]
    return (
        jnp.where(is_like, -numbers["alpha"] * above, -jnp.inf),
        jnp.where(is_unlike, numbers["beta"] * above, -jnp.inf),
    )


def _multi_similarity(how: _How, mesh: Mesh, rows: dict[str, Array], shared: Any, numbers: Any) -> Array:
    like, unlike = _sums(how, mesh, rows, numbers, _multi_similarity_terms, LOG_SUM_EXP, LOG_SUM_EXP)
    return softplus(like) / numbers["alpha"] + softplus(unlike) / numbers["beta"]


def _circle_terms(similarity: Array, numbers: Any, anchors: Any, keys: Any) -> tuple[Array, ...]:
    is_like, is_unlike = _like_and_unlike(anchors, keys)
    margin, gamma = numbers["margin"], numbers["gamma"]
    weights = jax.lax.stop_gradient((jax.nn.relu(1 + margin - similarity), jax.nn.relu(similarity + margin)))
    return (
        jnp.where(is_like, -gamma * weights[0] * (similarity - (1 - margin)), -jnp.inf),
        jnp.where(is_unlike, gamma * weights[1] * (similarity - margin), -jnp.inf),
    )


def _circle(how: _How, mesh: Mesh, rows: dict[str, Array], shared: Any, numbers: Any) -> tuple[Array, Array]:
    """And whether an anchor has rows of both kinds."""
    like, unlike = _sums(how, mesh, rows, numbers, _circle_terms, LOG_SUM_EXP, LOG_SUM_EXP)
    losses, has_both = softplus(like + unlike), (like != -jnp.inf) & (unlike != -jnp.inf)
    return losses, has_both.astype(losses.dtype)
