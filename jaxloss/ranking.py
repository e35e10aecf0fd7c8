"""Learning to rank: the scores of the items of a list against how relevant the items are.

One loss a list; the mean is over lists. The choice of a ranking library is wider: rax's, whose losses these agree with.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Real

from jaxloss._call import Call
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics.logistic import softplus
from jaxloss._numerics.safe import fill_masked, nan_unless, safe_divide
from jaxloss._numerics.softmax import soft_cross_entropy
from jaxloss._numerics.xla import by_platform
from jaxloss._typing import ArrayLike
from jaxloss.reductions import Reduction

_GRADES = "Items that are padding are hidden by `where`."


@compiled_when_eager
def ranking_softmax_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The softmax cross-entropy of a list's scores, each item weighed by how relevant it is (ListNet's top one):

        loss = -sum_i y_i log p_i
        p_i = exp(s_i) / sum_j exp(s_j)

    The grades y are taken as they are: a list with twice the grades counts twice. For ListNet's own loss pass their
    softmax, or `y / y.sum(-1, keepdims=True)`. A list in which nothing is relevant has a loss of 0, and counts.

    Args:
        pred: scores, any numbers, floating.
        target: how relevant each item is, at least 0, floating, of exactly the shape of `pred`. Negative ones, which
            TensorFlow Ranking takes for padding, give NaN.
        axis: the axis of the items of a list.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to `pred`; items where it is False belong to no list. A list with no item left is
            ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: an axis that `pred` lacks, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, negative grades.

    PyTorch: none.

    Elsewhere: rax's `softmax_loss` and optax's `ranking_softmax_loss` take the grades as they are, too;
    sentence-transformers' `ListNetLoss` takes their softmax.

    Reference: Z. Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach, 2007,
    doi:10.1145/1273496.1273513.

    >>> loss = ranking_softmax_loss(jnp.array([[2.0, 1.0, 0.0]]), jnp.array([[1.0, 0.0, 0.0]]))
    >>> print(f"{loss:.4f}")
    0.4076
    """
    call = Call("ranking_softmax_loss", sample_weight, None, reduction)  # The mask hides items, not lists.
    lists = _lists(call, axis, where, of_order=False, pred=pred, target=target)
    # A hidden item is as one that cannot be first; a list without items is harmless.
    impossible = 0.0 if call.keep is None else jnp.where(call.keep, -jnp.inf, 0.0)[..., None]
    (pred,) = fill_masked(lists.items, impossible, lists.pred)
    return call.reduce(soft_cross_entropy(pred, lists.target, pred.ndim - 1))


@compiled_when_eager
def list_mle_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""How unlikely the right order of a list is, where each next item is drawn with the softmax of those left:

        loss = sum_i log(1 + sum_{k > i} exp(s_k - s_i))

    where items are numbered from the most relevant on. Of equally relevant items the one that is given first counts as
    the more relevant: shuffle a list whose order may say something. The sums are cumulative logarithms, exact where
    scores lie far apart: scores of 0 and 100 in the wrong order cost 100.

    Args:
        pred: scores, any numbers, floating.
        target: how relevant each item is, at least 0, floating, of exactly the shape of `pred`. Only their order
            counts; no gradient flows to them. Negative ones, which TensorFlow Ranking takes for padding, give NaN.
        axis: the axis of the items of a list.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to `pred`; items where it is False belong to no list. A list with no item left is
            ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: an axis that `pred` lacks, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, negative grades.

    PyTorch: none.

    Elsewhere: rax's `listmle_loss`, TensorFlow Ranking's `ListMLELoss`; both break ties at random. allRank's `listMLE`,
    and the `ListMLELoss` of Keras and of older releases of sentence-transformers, add 1e-10 within the logarithm, which
    costs 77 where a right order has a gap of 100; newer ones take the order given, not that of the grades.

    Reference: F. Xia et al., Listwise Approach to Learning to Rank: Theory and Algorithm, 2008,
    doi:10.1145/1390156.1390306.

    >>> print(f"{list_mle_loss(jnp.array([[0.0, 100.0]]), jnp.array([[1.0, 0.0]])):.1f}")
    100.0
    """
    call = Call("list_mle_loss", sample_weight, None, reduction)
    lists = _lists(call, axis, where, pred=pred, target=target)
    _, scores, items = _ordered(-jax.lax.stop_gradient(lists.target), lists.pred, lists.items)
    below = _log_cumulative(scores, reverse=True)
    terms = softplus(below[..., 1:] - scores[..., :-1])
    values = jnp.sum(terms, -1, where=None if items is None else items[..., :-1])
    return call.reduce(values * lists.valid)


@compiled_when_eager
def pairwise_logistic_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""The mean over a list's pairs of unlike relevance of how unlikely their order is (RankNet):

        loss = sum_{y_i > y_j} log(1 + exp(s_j - s_i)) / pairs

    A list without such a pair has a loss of 0 and does not count. Each pair is computed, and none is stored: memory
    grows with the items of a list, time with their square.

    Args:
        pred: scores, any numbers, floating.
        target: how relevant each item is, at least 0, floating, of exactly the shape of `pred`. Only their order
            counts; no gradient flows to them. Negative ones, which TensorFlow Ranking takes for padding, give NaN.
        axis: the axis of the items of a list.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to `pred`; items where it is False belong to no list.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: an axis that `pred` lacks, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, negative grades.

    PyTorch: none.

    Elsewhere: rax's `pairwise_logistic_loss` and TensorFlow Ranking's `PairwiseLogisticLoss`, whose mean is over the
    pairs of all lists, so that long lists count more. BPR is the loss of one pair.

    Reference: C. Burges et al., Learning to Rank Using Gradient Descent, 2005, doi:10.1145/1102351.1102363.

    >>> loss = pairwise_logistic_loss(jnp.array([[2.0, 1.0, 0.0]]), jnp.array([[1.0, 0.0, 0.0]]))
    >>> print(f"{loss:.4f}")
    0.2201
    """
    call = Call("pairwise_logistic_loss", sample_weight, None, reduction)
    lists = _lists(call, axis, where, of_pairs=True, pred=pred, target=target)
    # A grade of NaN is neither more nor less than any other.
    (grades,) = fill_masked(lists.items, jnp.nan, jax.lax.stop_gradient(lists.target))
    pairs = jnp.sum(_sum_over_others(_is_pair, jax.lax.stop_gradient(lists.pred), grades), -1)
    return call.reduce(safe_divide(_pairwise_logistic(lists.pred, grades), pairs * lists.valid))


@compiled_when_eager
def cosent_loss(
    pred: Float[ArrayLike, "*batch"],
    target: Float[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    scale: Real[ArrayLike, ""] = 20.0,
    sample_weight: Real[ArrayLike, "..."] | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""One loss for all pairs of similarities that should be ordered and are not (CoSENT):

        loss = log(1 + sum_{y_i < y_j} exp(scale (s_i - s_j)))

    of similarities s, as between the two sentences of each example, and of how alike they should be. By a sort and a
    cumulative logarithm: in n log n for n examples. Where no two should differ the loss is 0 and does not count.

    Args:
        pred: similarities, such as cosines, floating: (examples,), or more batches of them.
        target: how alike each should be, any numbers, floating, of exactly the shape of `pred`. Only their order
            counts; no gradient flows to them.
        axis: the axis of the examples.
        scale: multiplies, greater than 0: 1 by a temperature. May be traced.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to `pred`; examples where it is False are left out.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `pred` without `axis`: a number for (examples,); float32 for
        half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        ValueError: a Python number out of its domain, an axis that `pred` lacks, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, targets that are NaN.

    PyTorch: none.

    Elsewhere: sentence-transformers' `CoSENTLoss`, and its `AnglELoss` with another similarity; older releases stored
    all pairs, and moved those that do not count by -1e12.

    Reference: J. Su, CoSENT, 2022, https://kexue.fm/archives/8847; X. Li and J. Li, AnglE, arXiv:2309.12871.

    >>> loss = cosent_loss(jnp.array([0.9, 0.5, 0.1]), jnp.array([1.0, 0.0, 0.5]))
    >>> print(f"{loss:.4f}")
    8.0003
    """
    call = Call("cosent_loss", sample_weight, None, reduction)
    lists = _lists(call, axis, where, of_pairs=True, of_grades=False, pred=pred, target=target)
    scaled = lists.pred * jnp.asarray(call.positive(scale=scale), lists.pred.dtype)
    grades, scores, items = _ordered(jax.lax.stop_gradient(lists.target), scaled, lists.items)
    # What the similarity of an example is compared with is all that comes before those of its own grade.
    place = jnp.arange(grades.shape[-1])
    is_first = jnp.concatenate([jnp.ones_like(grades[..., :1], bool), grades[..., 1:] > grades[..., :-1]], -1)
    before = jax.lax.cummax(jnp.where(is_first, place, 0), grades.ndim - 1)
    below = jnp.take_along_axis(_log_cumulative(scores), jnp.maximum(before - 1, 0), -1)
    compared = (before > 0) if items is None else (before > 0) & items
    worst = jax.nn.logsumexp(jnp.where(compared, below - scores, _lowest(scores)), -1)
    return call.reduce(softplus(worst) * lists.valid)


class _Lists(NamedTuple):
    """Scores and grades with the items of a list on the last axis."""

    pred: Array
    target: Array
    # Which items belong to a list; None for all.
    items: Array | None
    # A factor of each list: NaN if one of its grades is none.
    valid: Array


def _lists(
    call: Call,
    axis: int,
    where: Any,
    *,
    of_order: bool = True,
    of_pairs: bool = False,
    of_grades: bool = True,
    pred: Any,
    target: Any,
) -> _Lists:
    """Hides the lists without items; `of_pairs` those too of which no two items have unlike targets.

    Where only the order of the targets counts (`of_order`), one that is NaN makes NaN of all scores of its list.
    """
    pred, target = call.floats("Grades are floats: target.astype(jnp.float32).", pred=pred, target=target)
    axis = call.axis(axis, pred.ndim)
    items = call.mask(pred.shape, "`pred`", where=where)
    pred, target = fill_masked(items, 0.0, pred, target)
    pred, target = jnp.moveaxis(pred, axis, -1), jnp.moveaxis(target, axis, -1)
    items = None if items is None else jnp.moveaxis(items, axis, -1)
    if pred.shape[-1] == 0:  # A list without items is as one of a hidden item.
        one_more = [(0, 0)] * (pred.ndim - 1) + [(0, 1)]
        pred, target = jnp.pad(pred, one_more), jnp.pad(target, one_more)
        items = jnp.zeros(pred.shape, bool)
    if of_grades:
        target = call.nonnegative_values(_GRADES, target=target)
    else:
        call.check_range("numbers", ~jnp.isnan(target), "", target=target)
    counts = None if items is None else items.any(-1)
    if of_pairs:
        highest = target.max(-1, where=items, initial=-jnp.inf)
        counts = ~(highest <= target.min(-1, where=items, initial=jnp.inf))  # NaN counts, and makes the loss NaN.
    call.hide(pred.shape[:-1], pred.dtype, counts)
    valid = nan_unless(~(of_order & jnp.isnan(target)).any(-1))
    return _Lists(pred * valid[..., None] if of_order else pred, target, items, valid)


def _lowest(like: Array) -> float:
    """So low that its exponential is nothing beside any other, and still a number: it has a derivative."""
    return float(jnp.finfo(like.dtype).min) / 4


def _ordered(key: Array, scores: Array, items: Array | None) -> tuple[Array, Array, Array | None]:
    """All three from the least key on, in the order given where keys are alike; hidden ones come last, and are low."""
    keys = [key] if items is None else [~items, key]
    (scores,) = fill_masked(items, _lowest(scores), scores)
    *sorted_keys, scores = jax.lax.sort((*keys, scores), dimension=-1, num_keys=len(keys))
    return sorted_keys[-1], scores, None if items is None else ~sorted_keys[0]


def _log_cumulative(scores: Array, reverse: bool = False) -> Array:
    """log sum exp of all scores up to each."""
    if isinstance(scores.shape[-1], int):
        return jax.lax.cumlogsumexp(scores, scores.ndim - 1, reverse)
    # JAX has no cumulative sums along an axis of symbolic size.
    first = jnp.full_like(scores[..., 0], _lowest(scores))

    def add(total: Array, score: Array) -> tuple[Array, Array]:
        total = jnp.logaddexp(total, score)
        return total, total

    return jnp.moveaxis(jax.lax.scan(add, first, jnp.moveaxis(scores, -1, 0), reverse=reverse)[1], 0, -1)


def _sum_over_others(of_pair: Callable[..., Array], scores: Array, grades: Array) -> Array:
    """For each item, the sum over all of its list of `of_pair(score, grade, score of the other, its grade)`.

    A CPU would store what stands for all pairs, and so takes one item after the other.
    """

    def one_by_one(scores: Array, grades: Array) -> Array:
        @jax.checkpoint
        def add(total: Array, other: tuple[Array, Array]) -> tuple[Array, None]:
            score, grade = other
            return total + of_pair(scores, grades, score[..., None], grade[..., None]), None

        others = jnp.moveaxis(scores, -1, 0), jnp.moveaxis(grades, -1, 0)
        return jax.lax.scan(add, jnp.zeros_like(scores), others)[0]

    def at_once(scores: Array, grades: Array) -> Array:
        rows = scores[..., :, None], grades[..., :, None]
        return jnp.sum(of_pair(*rows, scores[..., None, :], grades[..., None, :]), -1)

    return by_platform(scores, grades, cpu=one_by_one, elsewhere=at_once)


def _is_pair(score: Array, grade: Array, other: Array, of_other: Array) -> Array:
    return jnp.where(grade > of_other, jnp.ones_like(other), 0.0)


def _loss_of_pair(score: Array, grade: Array, other: Array, of_other: Array) -> Array:
    return jnp.where(grade > of_other, softplus(other - score), 0.0)


def _slope_of_pair(score: Array, grade: Array, other: Array, of_other: Array) -> Array:
    """Of the loss to the score: that of the more relevant item should rise, that of the less relevant one fall."""
    sign = jnp.where(grade > of_other, -1.0, jnp.where(grade < of_other, 1.0, 0.0))
    return sign * jax.nn.sigmoid(sign * (score - other))


@jax.custom_jvp
def _pairwise_logistic(scores: Array, grades: Array) -> Array:
    """The sum over pairs; its slopes are sums over the other item of each pair, so that no pair is stored."""
    return jnp.sum(_sum_over_others(_loss_of_pair, scores, grades), -1)


@_pairwise_logistic.defjvp
def _pairwise_logistic_jvp(primals, tangents):
    slopes = _sum_over_others(_slope_of_pair, *primals)
    return _pairwise_logistic(*primals), jnp.sum(slopes * tangents[0], -1)
