"""Values and derivatives of every loss."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import (
    CASES,
    ELSEWHERE,
    FAMILIES,
    FIRST,
    FIRST_AND_SOME,
    ONE_A_FAMILY,
    REPRESENTATIVES,
    SOME,
    THOROUGH,
    TOLERANCE,
    Case,
    as_arrays,
    as_option,
    assert_close,
    values_and_gradients,
)

# By default the way of other machines than CPUs is tested against the oracle, and by the stress tests.
BOTH_WAYS = SOME + (ELSEWHERE if THOROUGH else [])
every_way = pytest.mark.parametrize("case", BOTH_WAYS, ids=[case.name for case in BOTH_WAYS])
every_case = pytest.mark.parametrize("case", SOME, ids=[case.name for case in SOME])
SAYING = FIRST if THOROUGH else ONE_A_FAMILY
FIRST_BOTH_WAYS = REPRESENTATIVES + ELSEWHERE * THOROUGH
every_record = pytest.mark.parametrize("case", FIRST_BOTH_WAYS, ids=[case.name for case in FIRST_BOTH_WAYS])


@pytest.mark.parametrize("case", SAYING, ids=[case.record.name for case in SAYING])
def test_a_record_says_whether_a_cpu_has_a_way_of_its_own(case):
    def gradient(*arrays):
        return jax.grad(case.loss(), case.record.differentiable)(*arrays)

    traced = str(jax.make_jaxpr(gradient)(*as_arrays(case.draw(), "float32")))
    assert ("platform_index" in traced) == case.record.two_ways


# In float32 the stress tests judge every loss, over the whole exponent range.
DTYPES = [("float64", case) for case in CASES + ELSEWHERE]
DTYPES += [("float32", case) for case in (FIRST + ELSEWHERE if THOROUGH else FAMILIES)]


@pytest.mark.parametrize(("dtype", "case"), DTYPES, ids=lambda value: getattr(value, "name", value))
def test_value_and_gradient_agree_with_the_oracle(case, dtype):
    with jax.enable_x64(dtype == "float64"):
        arrays = as_arrays(case.draw(), dtype)
        exact = [np.asarray(array) for array in arrays]
        values, gradients = values_and_gradients(case, arrays, optimised=dtype == "float32")
        for reduction, value in values.items():
            assert value.dtype == dtype
            assert_close(value, case.oracle(exact, reduction), TOLERANCE[dtype])
        for gradient, expected in zip(gradients, case.oracle_gradient(exact), strict=True):
            assert gradient.dtype == dtype
            assert_close(gradient, expected, TOLERANCE[dtype])


HALVES = [("bfloat16", case) for case in SOME] + [("float16", case) for case in FAMILIES if THOROUGH]


@pytest.mark.parametrize(("dtype", "case"), HALVES, ids=lambda value: getattr(value, "name", value))
def test_half_precision_is_computed_in_float32(case, dtype):
    arrays = as_arrays(case.draw(), dtype)
    exact = [np.asarray(array).astype(np.float64) if array.dtype == dtype else np.asarray(array) for array in arrays]
    values, gradients = values_and_gradients(case, arrays)
    for reduction, value in values.items():
        assert value.dtype == jnp.float32
        assert_close(value, case.oracle(exact, reduction), 1e-4)
    for gradient, expected in zip(gradients, case.oracle_gradient(exact), strict=True):
        assert gradient.dtype == dtype
        assert_close(gradient.astype(jnp.float32), expected, float(jnp.finfo(dtype).eps))


@every_record
def test_extreme_inputs_give_what_mathematics_gives(case):
    assert case.record.extremes

    def derivatives(arrays):
        """Of all extremes, so that one compilation serves them: the value, its gradient, the gradient's."""
        found = []
        for extreme, (pred, *rest) in zip(case.record.extremes, arrays, strict=True):
            options = {name: as_option(value) for name, value in extreme.options.items()}
            loss = functools.partial(case.function, reduction="none", **options)

            def gradient_and_value(pred, loss=loss, rest=rest):
                def total(pred):
                    value = loss(pred, *rest)
                    return value.sum(), value

                return jax.grad(total, has_aux=True)(pred)

            if THOROUGH:
                first, second, value = jax.jvp(gradient_and_value, [pred], [jnp.ones_like(pred)], has_aux=True)
                found.append((value, first, second))
            else:
                found.append(gradient_and_value(pred)[::-1])
        return found

    arrays = [as_arrays(extreme.args, "float32") for extreme in case.record.extremes]
    for extreme, (value, *slopes) in zip(case.record.extremes, jax.jit(derivatives)(arrays), strict=True):
        assert_close(value, extreme.expected, 1e-5)
        assert all(np.isfinite(slope).all() for slope in slopes), (extreme, slopes)


@pytest.mark.parametrize("case", FAMILIES, ids=[case.record.name for case in FAMILIES])
def test_debug_nans_raises_no_false_alarm_at_the_extremes(case):
    with jax.debug_nans(True):
        for extreme in case.record.extremes if THOROUGH else case.record.extremes[:1]:
            options = {name: as_option(value) for name, value in extreme.options.items()}
            loss = functools.partial(case.record.loss, reduction="sum", **options)
            jax.value_and_grad(loss)(*as_arrays(extreme.args, "float32"))


@every_way
def test_forward_mode_equals_reverse_mode_and_second_order_is_right(case):
    with jax.enable_x64(True):
        arrays = as_arrays(case.draw(), "float64")
        pred, rest = arrays[0], arrays[1:]
        pred, direction = np.asarray(pred), np.random.default_rng(1).normal(size=pred.shape)

        @jax.jit
        def derivatives(pred):
            def loss(pred):
                return case.loss()(pred, *rest, reduction="sum")

            gradient, over = jax.jvp(jax.grad(loss), [pred], [direction])
            forward, twice = jax.jvp(lambda x: jax.jvp(loss, [x], [direction])[1], [pred], [direction])
            return gradient, forward, over, twice

        @jax.jit
        def reverse_twice(pred):
            def loss(pred):
                return case.loss()(pred, *rest, reduction="sum")

            return jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), direction))(pred)

        gradient, forward, over, twice = map(np.asarray, derivatives(pred))
        assert_close(forward, np.vdot(gradient, direction), 1e-11)
        step = 1e-5
        after, before = (np.asarray(derivatives(pred + sign * step * direction)[0]) for sign in (1, -1))
        if not case.record.constant_factor:
            assert_close(over, (after - before) / (2 * step), 1e-7)
        if THOROUGH and case in FIRST:
            assert_close(reverse_twice(pred), over, 1e-11)
        else:  # What cannot be transposed is found while tracing.
            jax.eval_shape(reverse_twice, pred)
        assert_close(twice, np.vdot(over, direction), 1e-11)


@every_case
def test_traced_options_equal_numbers_and_have_gradients(case):
    with jax.enable_x64(True):
        arrays = as_arrays(case.draw(), "float64")
        parameters = inspect.signature(case.record.loss).parameters
        for name in case.record.traced:
            value = case.options.get(name, parameters[name].default)
            # None is another formula, and so is the largest of norms.
            if value is None or value == float("inf"):
                continue
            value = np.asarray(value, float)
            others = {key: given for key, given in case.options.items() if key != name}
            bare = Case(case.record, others, case.name, case.elsewhere)
            loss = jax.jit(jax.value_and_grad(lambda option: bare.loss()(*arrays, **{name: option})))  # noqa: B023
            traced, gradient = loss(value)
            expected = values_and_gradients(case, arrays)[0][case.record.default_reduction]
            assert_close(traced, expected, 1e-12)
            assert np.isfinite(gradient).all()
            step = 1e-6
            if (value > step).all() and not case.record.constant_factor:
                ahead, behind = (np.asarray(loss(value + sign * step)[0]) for sign in (1, -1))
                # Of a difference of two values so many digits are left.
                noise = 1e-9 * float(abs(traced))
                np.testing.assert_allclose(gradient.sum(), (ahead - behind) / (2 * step), rtol=1e-6, atol=noise)


def with_nan(case, arrays, position):
    """NaN in one number of every example, and where."""
    rng, array = np.random.default_rng(7), np.array(arrays[position])
    entries = []
    for example in np.ndindex(case.batch()):
        one = np.zeros(case.batch(), bool)
        one[example] = True
        candidates = np.argwhere(case.elements(one, position, array.shape)).tolist()
        entries.append(tuple(candidates[rng.integers(len(candidates))]))
        array[entries[-1]] = np.nan
    return [*arrays[:position], array, *arrays[position + 1 :]], entries


# What they take has been compiled.
@pytest.mark.parametrize("case", FIRST_AND_SOME, ids=[case.name for case in FIRST_AND_SOME])
def test_nan_that_counts_is_nan_in_value_and_gradient(case):
    """Class weights of 0 included: they rescale. What an oracle never reads (another class, an ignored row) is not."""
    dtype = "float32" if THOROUGH else "float64"
    arrays = [np.asarray(array, None if array.dtype.kind == "i" else dtype) for array in case.draw()]
    for position, array in enumerate(arrays):
        if array.dtype.kind != "f" or position in case.record.shared:
            continue
        spoilt, entries = with_nan(case, arrays, position)
        with np.errstate(all="ignore"):
            expected = np.isnan(case.oracle(spoilt, "none").astype(float))
        with jax.enable_x64(dtype == "float64"):  # Either is what a test above has compiled.
            values, gradients = values_and_gradients(case, spoilt, optimised=THOROUGH)
        np.testing.assert_array_equal(np.isnan(values["none"]), expected)
        if case.record.arrays[position] != "target" and position in case.record.differentiable:
            gradient = gradients[case.record.differentiable.index(position)]
            for example, entry in zip(np.ndindex(case.batch()), entries, strict=True):
                counts = expected[example] if expected.shape == case.batch() else expected.all()
                assert np.isnan(gradient[entry]) or not counts, (case.record.arrays[position], entry)
