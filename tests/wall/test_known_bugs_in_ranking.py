"""The wall of ranking: public reports of losses of lists, reproduced in the formula of the library that is named."""

import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.wall.test_known_bugs import graded, holds


def list_mle_with_eps(scores, grades):
    """As keras-rs and sentence-transformers have it: a small number keeps the logarithm from 0."""
    ordered = jnp.take_along_axis(scores, jnp.argsort(-grades, -1), -1)
    exponentials = jnp.exp(ordered - ordered.max(-1, keepdims=True))
    left = jnp.cumsum(exponentials[..., ::-1], -1)[..., ::-1]
    return -jnp.log(exponentials / (left + 1e-10) + 1e-10).sum(-1).mean()


def test_list_mle_is_exact_where_scores_lie_far_apart():
    """A right order by a gap of 100 cost 23, where it costs nothing; without the small number it cost inf.

    https://github.com/tensorflow/tensorflow/issues/56749
    """
    scores, grades = jnp.array([[0.0, -100.0]]), jnp.array([[1.0, 0.0]])
    assert list_mle_with_eps(scores, grades) > 20
    holds(graded(jaxloss.list_mle_loss, scores, grades), 0.0, [[0.0, 0.0]])
    holds(graded(jaxloss.list_mle_loss, scores, grades[:, ::-1]), 100.0, [[1.0, -1.0]])


def test_padding_does_not_change_the_mean_of_a_list():
    """Lists that were padded to one length had a mean over the padding, too.

    https://github.com/tensorflow/ranking/issues/359
    """
    scores, grades = jnp.array([[2.0, 1.0, 0.0]]), jnp.array([[0.0, 1.0, 2.0]])
    padded = [jnp.pad(array, ((0, 0), (0, 5)), constant_values=np.nan) for array in (scores, grades)]
    for loss in (jaxloss.pairwise_logistic_loss, jaxloss.list_mle_loss, jaxloss.ranking_softmax_loss):
        value = loss(*padded, where=jnp.arange(8) < 3)
        np.testing.assert_allclose(value, loss(scores, grades), rtol=1e-6)


def softmax_of_pairs(scores, grades):
    """All pairs by a matrix of -1e12 where none is to be counted; of the largest kept one, NaN if there is none."""
    gaps = jnp.where(grades[:, None] < grades[None, :], scores[:, None] - scores[None, :], -jnp.inf)
    largest = gaps.max()
    return largest + jnp.log(jnp.exp(gaps - largest).sum())


def test_labels_that_are_all_alike_have_no_loss():
    """With no pair to be ordered the loss was NaN, and so was the model after one step.

    https://github.com/huggingface/sentence-transformers/pull/4032
    """
    scores, grades = jnp.array([0.3, 0.2, 0.1]), jnp.ones(3)
    assert np.isnan(graded(softmax_of_pairs, scores, grades)[0])
    for loss in (jaxloss.cosent_loss, jaxloss.pairwise_logistic_loss):
        holds(graded(loss, scores, grades), 0.0, [0.0, 0.0, 0.0])


def test_similarities_in_the_right_order_cost_less():
    """A formula with the two similarities exchanged trained pairs apart that belong together.

    https://github.com/huggingface/sentence-transformers/issues/3368,
    https://github.com/huggingface/sentence-transformers/pull/3984
    """
    grades = jnp.array([1.0, 0.0])
    right, wrong = (jaxloss.cosent_loss(jnp.array(scores), grades, scale=1.0) for scores in ([0.9, 0.1], [0.1, 0.9]))
    np.testing.assert_allclose((right, wrong), (np.log1p(np.exp(-0.8)), np.log1p(np.exp(0.8))), rtol=1e-6)
    np.testing.assert_allclose(wrong, 1.1711, atol=1e-4)


def test_a_thousand_similarities_need_no_matrix_of_their_pairs():
    """Every pair was stored, and then every pair of pairs' gradient.

    https://github.com/huggingface/sentence-transformers/pull/4030
    """
    shapes = [jax.ShapeDtypeStruct((1024,), jnp.float32)] * 2
    compiled = jax.jit(jax.value_and_grad(jaxloss.cosent_loss)).lower(*shapes).compile()
    assert typing.cast(Any, compiled.memory_analysis()).temp_size_in_bytes < 0.1 * 4 * 1024**2
