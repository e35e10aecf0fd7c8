"""Sample weights of every loss that takes them: each loss times its weight, and the mean divides by what counts."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxloss
from tests.support import (
    BATCH,
    EVERY,
    FAMILIES,
    THOROUGH,
    TOLERANCE,
    as_arrays,
    assert_close,
    values_and_gradients,
)


def weighable(cases):
    return [case for case in cases if "sample_weight" in inspect.signature(case.record.loss).parameters]


every_family = pytest.mark.parametrize("case", weighable(FAMILIES), ids=[case.name for case in weighable(FAMILIES)])


def shape_of_losses(case, batch=BATCH):
    return case.oracle(case.draw(batch=batch), "none").shape


def weights(case, seed=0, batch=BATCH):
    """Some 0, the others about 1, for each loss that is left to be reduced."""
    rng, shape = np.random.default_rng(seed + 200), shape_of_losses(case, batch)
    drawn = np.where(rng.random(size=shape) < 0.7, 0.5 + rng.random(size=shape), 0)
    return drawn if drawn.any() else drawn + 0.7


def spoilt(case, where, given, dtype):
    """Garbage where the mask or a weight of 0 hides a loss; what is part of several stands as it is."""
    return case.with_garbage(case.draw(), where if case.weighs_wholes else where & (given != 0), dtype)


@every_family
def test_weighted_values_and_gradients_agree_with_the_oracle(case):
    """Zero weights over garbage, under a mask, with every reduction."""
    with jax.enable_x64(True):
        where, given = case.mask(), weights(case)
        arrays = [jnp.asarray(array) for array in spoilt(case, where, given, np.float64)]
        exact = case.draw()
        values, (*gradients, _) = values_and_gradients(case, arrays, where, sample_weight=given)
        for reduction, value in values.items():
            assert_close(value, case.oracle(exact, reduction, where, sample_weight=given), TOLERANCE["float64"])
        expected = case.oracle_gradient(exact, where, given)
        for position, gradient, other in zip(case.record.differentiable, gradients, expected, strict=True):
            if position not in case.record.shared and not case.weighs_wholes:
                hidden = ~case.elements(where & (given != 0), position, gradient.shape)
                assert (np.asarray(gradient)[hidden] == 0).all()
            assert_close(gradient, other, TOLERANCE["float64"])
        # Where nothing counts, the mean is 0, and so is every gradient.
        nothing = values_and_gradients(case, arrays, where, sample_weight=np.zeros_like(given))
        assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(nothing))


@every_family
def test_weights_have_gradients_and_broadcast(case):
    with jax.enable_x64(True):
        arrays, given = as_arrays(case.draw(), "float64"), weights(case)
        expected = [np.asarray(array) for array in arrays]
        # No wider step: a weight of 0 is a kink, where the loss is hidden.
        positive = np.where(given == 0, 0.3, given)
        default, whole = case.record.default_reduction, np.ones(case.batch(), bool)
        values, (*_, gradient) = values_and_gradients(case, arrays, whole, sample_weight=positive)
        assert_close(values[default], case.oracle(expected, default, sample_weight=positive), 1e-10)
        direction = np.random.default_rng(1).normal(size=positive.shape)
        ahead, behind = (
            case.oracle(expected, default, sample_weight=positive + sign * np.longdouble(1e-5) * direction)
            for sign in (1, -1)
        )
        np.testing.assert_allclose(jnp.vdot(gradient, direction), float((ahead - behind) / 2e-5), rtol=1e-7, atol=1e-9)
        one_for_all = jax.eval_shape(lambda one: case.loss()(*arrays, sample_weight=one), np.float64(0.5))
        assert one_for_all.shape == ()
        if given.ndim and THOROUGH:
            row = positive[..., :1]
            whole = np.broadcast_to(row, given.shape)
            actual = case.loss()(*arrays, sample_weight=row)
            assert_close(actual, case.oracle(expected, default, sample_weight=whole), 1e-10)


@every_family
def test_a_callable_reduction_gets_the_weights(case):
    """The mask, what classes weigh and what samples weigh, multiplied; and 0 for what they hide."""
    where, given = case.mask(), weights(case)
    arrays = spoilt(case, where, given, np.float32)

    @jax.jit
    def reduced(*arrays):
        taken = []
        loss = functools.partial(case.loss(), sample_weight=given.astype(np.float32), where=where)
        loss(*arrays, reduction=lambda *both: taken.extend(both) or jnp.zeros(()))
        means = [loss(*arrays, reduction=one) for one in ("mean", jaxloss.reductions.mean)]
        return taken, means, loss(*arrays, reduction="none")

    (values, counted), (own, theirs), unreduced = reduced(*arrays)
    assert_close(values * counted, unreduced, 1e-5)
    assert np.isfinite(values).all()
    assert_close(theirs, own, 1e-6)
    assert not np.asarray(counted)[given == 0].any()
    assert not np.asarray(values)[given == 0].any()


@every_family
def test_left_at_none_they_cost_nothing(case):
    arrays = as_arrays(case.draw(), "float32")
    jaxprs = [
        str(jax.make_jaxpr(jax.value_and_grad(functools.partial(case.loss(), **given)))(*arrays))
        for given in ({}, {"sample_weight": None})
    ]
    # But for the numbers that jax 0.8 gives to value checks, one after the other, and for where a function lies.
    jaxprs = [re.sub(r"-?\d+:i32\[\]|0x[0-9a-f]+", "number", jaxpr) for jaxpr in jaxprs]
    assert jaxprs[0] == jaxprs[1]


@every_family
def test_wrong_weights_are_refused_and_negative_ones_reported(case):
    arrays = as_arrays(case.draw(), "float32")
    shape = shape_of_losses(case)
    for wrong in (np.ones((*shape, 2), np.float32), np.ones((2, *shape), np.float32), np.ones(shape, np.complex64)):
        with pytest.raises(AssertionError, match=f"{case.record.name}: `sample_weight` must"):
            case.loss()(*arrays, sample_weight=wrong)
    negative = np.ones(shape, np.float32)
    negative[(0,) * len(shape)] = -0.5
    error, value = checkify.checkify(jax.jit(case.loss()))(*arrays, sample_weight=negative)
    with pytest.raises(checkify.JaxRuntimeError, match=f"{case.record.name}: `sample_weight` must be at least 0"):
        error.throw()
    assert np.isnan(value)


def test_every_loss_or_none_takes_weights():
    assert len(weighable(EVERY)) in (0, len(EVERY))
