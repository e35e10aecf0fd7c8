import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from tests.support import assert_close

LOSSES = [jaxloss.ranking_softmax_loss, jaxloss.list_mle_loss, jaxloss.pairwise_logistic_loss, jaxloss.cosent_loss]
RNG = np.random.default_rng(0)
SCORES, GRADES = (
    RNG.normal(size=(3, 6)).astype(np.float32),
    RNG.permuted(np.tile([0.0, 1, 2, 3, 4, 5], (3, 1)), axis=1).astype(np.float32),
)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_order_of_the_items_means_nothing_where_grades_are_unlike(loss):
    order = RNG.permuted(np.tile(np.arange(6), (3, 1)), axis=1)
    moved = [np.take_along_axis(array, order, 1) for array in (SCORES, GRADES)]
    value, gradient = jax.value_and_grad(loss)(SCORES, GRADES)
    same, there = jax.value_and_grad(loss)(*moved)
    assert_close(same, value, 1e-6)
    assert_close(there, np.take_along_axis(np.asarray(gradient), order, 1), 1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_hidden_item_is_as_one_that_is_not_there(loss):
    padded = [np.concatenate([array, np.full((3, 2), np.nan, np.float32)], 1) for array in (SCORES, GRADES)]
    where = np.arange(8) < 6
    value, gradient = jax.value_and_grad(loss)(*padded, where=where)
    expected, there = jax.value_and_grad(loss)(SCORES, GRADES)
    assert_close(value, expected, 1e-6)
    assert_close(gradient[:, :6], there, 1e-6)
    assert (gradient[:, 6:] == 0).all()


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_scores_in_the_right_order_cost_less_than_in_the_wrong_one(loss):
    assert loss(GRADES, GRADES) < loss(0 * GRADES, GRADES) < loss(-GRADES, GRADES)


@pytest.mark.parametrize("loss", LOSSES[2:])
def test_a_list_without_pairs_is_not_counted(loss):
    alike = GRADES.copy()
    alike[1] = 3
    losses, mean = loss(SCORES, alike, reduction="none"), loss(SCORES, alike)
    assert losses[1] == 0
    assert_close(mean, losses.sum() / 2, 1e-6)
    value, gradient = jax.value_and_grad(loss)(SCORES[:1], alike[1:2])
    assert value == 0
    assert (gradient == 0).all()


def test_a_list_in_which_nothing_is_relevant_counts_as_in_rax():
    nothing = GRADES * [[0], [1], [1]]
    losses = jaxloss.ranking_softmax_loss(SCORES, nothing, reduction="none")
    assert losses[0] == 0
    assert_close(jaxloss.ranking_softmax_loss(SCORES, nothing), losses.sum() / 3, 1e-6)


def test_items_of_one_grade_stand_in_the_order_given():
    scores = jnp.array([2.0, 0.0, 1.0])
    expected = np.log(1 + np.exp(-2.0) + np.exp(-1.0)) + np.log(1 + np.exp(1.0))
    assert_close(jaxloss.list_mle_loss(scores, jnp.ones(3)), expected, 1e-6)


def test_list_mle_is_the_likelihood_of_drawing_without_replacement():
    """Over all orders of a list the probabilities add up to 1."""
    orders = np.array([[2, 1, 0], [2, 0, 1], [1, 2, 0], [0, 2, 1], [1, 0, 2], [0, 1, 2]], np.float32)
    losses = jaxloss.list_mle_loss(np.tile(SCORES[0, :3], (6, 1)), orders, reduction="none")
    assert_close(jnp.exp(-losses).sum(), 1.0, 1e-6)


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_only_the_order_of_the_grades_counts(loss):
    assert_close(loss(SCORES, 100 * GRADES**3), loss(SCORES, GRADES), 1e-6)
    assert (jax.grad(loss, 1)(SCORES, GRADES) == 0).all()


def test_pairs_and_sums_of_similarities_are_not_stored():
    """Nothing of the size of all pairs, in value, gradient and its derivative along a direction."""
    items = 2048
    shape = jax.ShapeDtypeStruct((items,), jnp.float32)
    options = {"xla_backend_optimization_level": 3}
    for loss in (jaxloss.pairwise_logistic_loss, jaxloss.cosent_loss):
        step = jax.jit(jax.value_and_grad(loss)).lower(shape, shape).compile(options)
        assert typing.cast(Any, step.memory_analysis()).temp_size_in_bytes < 0.05 * 4 * items**2
