"""Masks and reductions of every loss."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from tests.support import (
    EVERY,
    FAMILIES,
    FIRST,
    FIRST_AND_SOME,
    REPRESENTATIVES,
    THOROUGH,
    TOLERANCE,
    as_arrays,
    assert_close,
    reductions,
    values_and_gradients,
)

every_case = pytest.mark.parametrize("case", FIRST_AND_SOME, ids=[case.name for case in FIRST_AND_SOME])
every_record = pytest.mark.parametrize("case", FIRST, ids=[case.record.name for case in FIRST])
every_representative = pytest.mark.parametrize(
    "case", REPRESENTATIVES, ids=[case.record.name for case in REPRESENTATIVES]
)
every_family = pytest.mark.parametrize("case", FAMILIES, ids=[case.record.name for case in FAMILIES])
# A batch of no axis, of one, two and three, each of up to three entries.
BATCHES = [shape for axes in range(4) for shape in np.ndindex(*[4] * axes) if all(shape)]


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, "float64") for case in FIRST_AND_SOME] + [(case, "bfloat16") for case in FAMILIES if THOROUGH],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_the_mask_hides_counts_for_nothing(case, dtype):
    with jax.enable_x64(dtype == "float64"):
        where = case.mask()
        clean = as_arrays(case.draw(), dtype)
        exact = [np.asarray(array).astype(np.float64 if array.dtype == dtype else array.dtype) for array in clean]
        spoilt = [jnp.asarray(array) for array in case.with_garbage(exact, where, dtype)]
        tolerance = TOLERANCE.get(dtype, 1e-4)
        values, gradients = values_and_gradients(case, spoilt, where)
        for reduction, value in values.items():
            assert_close(value, case.oracle(exact, reduction, where), tolerance)
        expected_gradients = case.oracle_gradient(exact, where)
        for position, gradient, expected in zip(case.record.differentiable, gradients, expected_gradients, strict=True):
            if position not in case.record.shared:
                assert (np.asarray(gradient)[~case.elements(where, position, gradient.shape)] == 0).all()
            assert_close(gradient, expected, max(tolerance, float(jnp.finfo(dtype).eps)))


@every_case
def test_nothing_kept_is_zero_with_gradient_zero(case):
    where = np.zeros(case.batch(), bool)
    with jax.enable_x64(True):  # What the test above has compiled.
        arrays = [jnp.asarray(array) for array in case.with_garbage(case.draw(), where, np.float64)]
        values, gradients = values_and_gradients(case, arrays, where)
        assert all((np.asarray(value) == 0).all() for value in values.values())
        assert all((np.asarray(gradient) == 0).all() for gradient in gradients)


@every_record
def test_an_empty_batch_is_zero(case):
    values, gradients = values_and_gradients(case, as_arrays(case.draw(batch=(0,)), "float32"))
    assert all((np.asarray(value) == 0).all() for value in values.values())
    assert all((np.asarray(gradient) == 0).all() for gradient in gradients)


@every_family
def test_masks_broadcast_as_they_would_by_hand(case):
    arrays = as_arrays(case.draw(), "float32")
    masks = [case.mask()[:1], case.mask()[..., :1], case.mask()[0], True, np.bool_(False)]
    whole = [np.broadcast_to(where, case.batch()) for where in masks]
    loss = jax.jit(lambda *arrays: [case.loss()(*arrays, where=where) for where in masks + whole])
    assert_close(loss(*arrays)[:5], loss(*arrays)[5:], 1e-7)


@every_family
def test_a_callable_reduction_gets_values_and_weights(case):
    """Nothing else: their largest is a loss of one example, and with their weights they are what "none" returns.

    What the mask hides has weight 0, and is 0 whatever stands under it.
    """
    arrays, where = as_arrays(case.draw(), "float32"), case.mask()
    spoilt = case.with_garbage(case.draw(), where, np.float32)

    def weighted_mean(values, weights):
        return jnp.sum(values * weights) / jnp.sum(weights)

    def given(*arrays, **options):
        """What a callable gets; it may return nothing but a number."""
        taken = []
        case.loss()(*arrays, **options, reduction=lambda *both: taken.extend(both) or jnp.zeros(()))
        return taken

    pairs = (
        ("mean", jaxloss.reductions.mean if case.record.own_mean(case.options) else weighted_mean, None),
        ("sum", lambda values, weights: jnp.sum(values * weights), where),
        ("mean", jaxloss.reductions.mean, where),
    )

    @jax.jit
    def reduced(arrays, spoilt):
        loss = case.loss()
        both = [[loss(*arrays, where=where, reduction=one) for one in pair] for *pair, where in pairs]
        return both, given(*arrays), given(*spoilt, where=where), loss(*spoilt, where=where, reduction="none")

    both, (values, weights), (masked, mask), unreduced = reduced(arrays, spoilt)
    for own, theirs in both:
        assert_close(theirs, own, 1e-6)

    expected = case.oracle([np.asarray(array) for array in arrays], "none")
    assert_close(np.where(weights == 0, 0, values) * weights, expected, 1e-5)
    assert np.max(np.abs(values)) <= 4 * max(np.max(np.abs(expected)), 1)

    np.testing.assert_allclose(np.where(mask == 0, 0, masked) * mask, unreduced, rtol=1e-5, atol=1e-6)
    assert mask.shape == masked.shape
    if not case.record.sets:
        assert not np.asarray(mask)[..., ~where].any()
        assert (np.asarray(masked)[..., ~where] == 0).all()
        if not case.options:
            np.testing.assert_array_equal(mask, case.record.oracle(*case.draw(), where=where)[1] != 0)


@every_representative
@hypothesis.given(data=st.data())
def test_any_shape_axis_mask_and_reduction(case, data):
    variants = [other for other in EVERY if other.record is case.record]
    case, batch = data.draw(
        st.sampled_from([(case, batch) for case in variants for batch in BATCHES if case.fits(batch)])
    )
    where = data.draw(st.none() | st.builds(lambda seed: case.mask(seed, batch), st.integers(0, 99)))
    reduction = data.draw(st.sampled_from(reductions(case)))
    arrays = as_arrays(case.draw(data.draw(st.integers(0, 99)), batch), "float32")
    actual = jax.jit(lambda *arrays: case.loss()(*arrays, where=where, reduction=reduction))(*arrays)
    exact = [np.asarray(array) for array in arrays]
    assert_close(actual, case.oracle(exact, reduction, True if where is None else where), 1e-5)
