"""What must hold for every row of the table."""

import functools
import inspect

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxloss
from tests.catalogue import TABLE
from tests.support import BATCH, CASES, FIRST, OPTIMISED, Case, as_arrays, as_option, assert_close, values_and_gradients

every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
every_row = pytest.mark.parametrize("case", FIRST, ids=[case.row.name for case in FIRST])
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


# Numbers


@every_case
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_value_and_gradient_agree_with_the_oracle(case, dtype):
    with jax.enable_x64(dtype == "float64"):
        arrays = as_arrays(case.draw(), dtype)
        exact = [np.asarray(array) for array in arrays]
        values, gradients = values_and_gradients(case, dtype, arrays, compiler_options=OPTIMISED)
        for reduction, value in values.items():
            assert value.dtype == dtype
            assert_close(value, case.oracle(exact, reduction), TOLERANCE[dtype])
        for gradient, expected in zip(gradients, case.oracle_gradient(exact), strict=True):
            assert gradient.dtype == dtype
            assert_close(gradient, expected, TOLERANCE[dtype])


@every_case
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32(case, dtype):
    arrays = as_arrays(case.draw(), dtype)
    exact = [np.asarray(array).astype(np.float64) if array.dtype == dtype else np.asarray(array) for array in arrays]
    values, gradients = values_and_gradients(case, None, arrays)
    for reduction, value in values.items():
        assert value.dtype == jnp.float32
        assert_close(value, case.oracle(exact, reduction), 1e-4)
    for gradient, expected in zip(gradients, case.oracle_gradient(exact), strict=True):
        assert gradient.dtype == dtype
        assert_close(gradient.astype(jnp.float32), expected, float(jnp.finfo(dtype).eps))


@every_row
def test_extreme_inputs_give_what_mathematics_gives(case):
    assert case.row.extremes
    for extreme in case.row.extremes:
        arrays = as_arrays(extreme.args, "float32")
        options = {name: as_option(value) for name, value in extreme.options.items()}

        def derivatives(pred, rest):
            loss = functools.partial(case.row.loss, **options)  # noqa: B023
            gradient = jax.grad(lambda pred: loss(pred, *rest, reduction="sum"))
            return loss(pred, *rest, reduction="none"), *jax.jvp(gradient, [pred], [jnp.ones_like(pred)])

        value, first, second = jax.jit(derivatives)(arrays[0], arrays[1:])
        assert_close(value, extreme.expected, 1e-5)
        assert np.isfinite(first).all(), (extreme, first)
        assert np.isfinite(second).all(), (extreme, second)


@every_row
def test_debug_nans_raises_no_false_alarm_at_the_extremes(case):
    with jax.debug_nans(True):
        for extreme in case.row.extremes:
            options = {name: as_option(value) for name, value in extreme.options.items()}
            loss = functools.partial(case.row.loss, reduction="sum", **options)
            jax.value_and_grad(loss)(*as_arrays(extreme.args, "float32"))


@every_case
def test_forward_mode_equals_reverse_mode_and_second_order_is_right(case):
    with jax.enable_x64(True):
        arrays = as_arrays(case.draw(), "float64")
        pred, rest = arrays[0], arrays[1:]
        direction = jnp.asarray(np.random.default_rng(1).normal(size=pred.shape))

        def loss(pred):
            return case.loss()(pred, *rest, reduction="sum")

        @jax.jit
        def derivatives(pred):
            gradient = jax.grad(loss)
            forward = jax.jvp(loss, [pred], [direction])[1]
            over = jax.jvp(gradient, [pred], [direction])[1]
            reverse = jax.grad(lambda x: jnp.vdot(gradient(x), direction))(pred)
            twice = jax.jvp(lambda x: jax.jvp(loss, [x], [direction])[1], [pred], [direction])[1]
            return gradient(pred), forward, over, reverse, twice

        gradient, forward, over, reverse, twice = derivatives(pred)
        assert_close(forward, jnp.vdot(gradient, direction), 1e-11)
        step = 1e-5
        after, before = derivatives(pred + step * direction)[0], derivatives(pred - step * direction)[0]
        if not case.row.constant_factor:
            assert_close(over, (after - before) / (2 * step), 1e-7)
        assert_close(reverse, over, 1e-11)
        assert_close(twice, jnp.vdot(over, direction), 1e-11)


@every_case
def test_traced_options_equal_numbers_and_have_gradients(case):
    with jax.enable_x64(True):
        arrays = as_arrays(case.draw(), "float64")
        for name in case.row.traced:
            value = case.options.get(name, inspect.signature(case.row.loss).parameters[name].default)
            if value is None or value == float("inf"):
                continue
            value = jnp.asarray(value, float)
            bare = Case(case.row, {key: given for key, given in case.options.items() if key != name}, case.name)
            loss = jax.jit(jax.value_and_grad(lambda option: bare.loss()(*arrays, **{name: option})))  # noqa: B023
            traced, gradient = loss(value)
            assert_close(traced, jax.jit(case.loss())(*arrays), 1e-12)
            assert np.isfinite(gradient).all()
            step = 1e-6
            if (value > step).all() and not case.row.constant_factor:
                slope = (loss(value + step)[0] - loss(value - step)[0]) / (2 * step)
                assert_close(gradient.sum(), slope, 1e-6)


def with_nan(case, arrays, position):
    """NaN in one number of every example, and where."""
    rng, array = np.random.default_rng(7), np.array(arrays[position])
    entries = []
    for example in np.ndindex(BATCH):
        inner = tuple(rng.integers(0, size) for size in array.shape[len(BATCH) :])
        axis = case.options.get("axis", -1)
        in_front = len(inner) == 1 and isinstance(axis, int) and axis >= 0
        shape = array.shape[:axis] + array.shape[axis + 1 :] if in_front else array.shape[: len(BATCH)]
        place = tuple(index % size for index, size in zip(example, shape, strict=False))
        own = (rng.integers(0, array.shape[axis]),) if in_front else inner
        entries.append((*place[:axis], *own, *place[axis:]) if in_front else (*place, *own)[: array.ndim])
        array[entries[-1]] = np.nan
    return [*arrays[:position], array, *arrays[position + 1 :]], entries


@every_case
def test_nan_that_counts_is_nan_in_value_and_gradient(case):
    """Class weights of 0 included: they rescale. What an oracle never reads (another class, an ignored row) is not."""
    arrays = [np.asarray(array) for array in as_arrays(case.draw(), "float32")]
    names = case.arguments()
    ignored = arrays[-1] == case.options.get("ignore_index", np.nan)

    @functools.partial(jax.jit, static_argnums=0)
    def derivatives(position, *arrays):
        gradient = jax.grad(functools.partial(case.loss(), reduction="sum"), position)
        return case.loss()(*arrays, reduction="none"), gradient(*arrays)

    for position, array in enumerate(arrays):
        if array.dtype.kind != "f" or position in case.row.shared:
            continue
        spoilt, entries = with_nan(case, arrays, position)
        with np.errstate(all="ignore"):
            expected = np.isnan(case.oracle(spoilt, "none").astype(float))
        expected &= ~ignored if ignored.any() else True
        value, gradient = derivatives(position if position in case.row.differentiable else 0, *spoilt)
        np.testing.assert_array_equal(np.isnan(value), expected)
        if names[position] != "target" and position in case.row.differentiable:
            for example, entry in zip(np.ndindex(BATCH), entries, strict=True):
                counts = expected[example] if expected.shape == BATCH else expected.all()
                assert np.isnan(gradient[entry]) or not counts, (names[position], entry)


# Transformations


@every_row
def test_eager_vmap_scan_remat_and_export_equal_jit(case):
    with jax.enable_x64(True):
        batches = [as_arrays(case.draw(seed), "float64") for seed in range(3)]
        stacked = [jnp.stack(arrays) for arrays in zip(*batches, strict=True)]

        def step(*arrays):
            return jax.value_and_grad(case.loss())(*arrays)

        def scanned(*stacked):
            return jax.lax.scan(lambda carry, arrays: (carry, step(*arrays)), 0, tuple(stacked))[1]

        def rematerialised(*arrays):
            return jax.value_and_grad(jax.checkpoint(case.loss()))(*arrays)

        jitted = jax.jit(step)
        one = jitted(*batches[0])
        three = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(jitted(*arrays) for arrays in batches))
        for transformed, expected in (
            (step(*batches[0]), one),
            (jax.jit(rematerialised)(*batches[0]), one),
            (jax.export.export(jitted)(*batches[0]).call(*batches[0]), one),
            (jax.jit(jax.vmap(step))(*stacked), three),
            (jax.jit(scanned)(*stacked), three),
        ):
            assert_close(transformed[0], expected[0], 1e-12)
            assert_close(transformed[1], expected[1], 1e-12)


@every_row
def test_export_with_a_symbolic_batch_equals_jit(case):
    arrays, scope = as_arrays(case.draw(), "float32"), jax.export.SymbolicScope()
    step = jax.jit(lambda *arrays: jax.value_and_grad(case.loss())(*arrays))

    def symbolic(position, array):
        sizes = ["batch", "more", *map(str, array.shape[len(BATCH) :])]
        shape = jax.export.symbolic_shape(",".join(sizes), scope=scope)
        return jax.ShapeDtypeStruct(array.shape if position in case.row.shared else shape, array.dtype)

    exported = jax.export.export(step)(*map(symbolic, range(len(arrays)), arrays))
    for batch in (BATCH, (5, 1)):
        arrays = as_arrays(case.draw(batch=batch), "float32")
        for actual, expected in zip(exported.call(*arrays), step(*arrays), strict=True):
            assert_close(actual, expected, 1e-5)


@every_case
def test_it_traces_where_jax_promotes_neither_dtypes_nor_ranks(case):
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for dtype in ("bfloat16", "float16", "float32"):
            arrays = as_arrays(case.draw(), dtype)
            step = jax.value_and_grad(lambda *arrays: case.loss()(*arrays, where=case.mask()))
            assert jax.eval_shape(step, *arrays)[1].dtype == dtype
            jax.eval_shape(jax.value_and_grad(case.loss()), *arrays)


@every_row
def test_no_tracer_leaks(case):
    with jax.checking_leaks():
        jax.jit(jax.value_and_grad(lambda *arrays: case.loss()(*arrays, where=case.mask()))).lower(
            *as_arrays(case.draw(), "float32")
        )


@every_row
def test_numpy_arrays_strict_promotion_and_debug_nans(case):
    arrays = [np.asarray(array) for array in as_arrays(case.draw(), "float32")]
    expected = case.loss()(*as_arrays(arrays, "float32"))
    with jax.numpy_dtype_promotion("strict"), jax.debug_nans(True):
        step = jax.value_and_grad(case.loss())
        for value, gradient in (jax.jit(step)(*arrays), jax.jit(step)(*arrays, where=case.mask())):
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()
        assert_close(case.loss()(*arrays), expected, 1e-6)


# Masks and reductions


@every_case
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_what_the_mask_hides_counts_for_nothing(case, dtype):
    with jax.enable_x64(dtype == "float64"):
        where = case.mask()
        clean = as_arrays(case.draw(), dtype)
        exact = [np.asarray(array).astype(np.float64 if array.dtype == dtype else array.dtype) for array in clean]
        spoilt = [jnp.asarray(array) for array in case.with_garbage(exact, where, dtype)]
        tolerance = TOLERANCE.get(dtype, 1e-4)
        values, gradients = values_and_gradients(case, None, spoilt, where)
        for reduction, value in values.items():
            assert_close(value, case.oracle(exact, reduction, where), tolerance)
        expected_gradients = case.oracle_gradient(exact, where)
        for position, gradient, expected in zip(case.row.differentiable, gradients, expected_gradients, strict=True):
            if position not in case.row.shared:
                assert (np.asarray(gradient)[~case.elements(where, gradient.shape)] == 0).all()
            assert_close(gradient, expected, max(tolerance, float(jnp.finfo(dtype).eps)))


@every_case
def test_nothing_kept_is_zero_with_gradient_zero(case):
    where = np.zeros(BATCH, bool)
    values, gradients = values_and_gradients(case, None, case.with_garbage(case.draw(), where, np.float32), where)
    assert all((np.asarray(value) == 0).all() for value in values.values())
    assert all((np.asarray(gradient) == 0).all() for gradient in gradients)


@every_row
def test_an_empty_batch_is_zero(case):
    values, gradients = values_and_gradients(case, None, as_arrays(case.draw(batch=(0,)), "float32"))
    assert all((np.asarray(value) == 0).all() for value in values.values())
    assert all((np.asarray(gradient) == 0).all() for gradient in gradients)


@every_row
def test_masks_broadcast_as_they_would_by_hand(case):
    arrays = as_arrays(case.draw(), "float32")
    masks = [case.mask()[:1], case.mask()[:, :1], case.mask()[0], True, np.bool_(False)]
    whole = [np.broadcast_to(where, BATCH) for where in masks]
    loss = jax.jit(lambda *arrays: [case.loss()(*arrays, where=where) for where in masks + whole])
    assert_close(loss(*arrays)[:5], loss(*arrays)[5:], 1e-7)


@every_case
def test_a_callable_reduction_gets_values_and_weights(case):
    arrays = as_arrays(case.draw(), "float32")

    def weighted_mean(values, weights):
        return jnp.sum(values * weights) / jnp.sum(weights)

    pairs = (
        ("mean", jaxloss.reductions.mean if case.row.own_mean(case.options) else weighted_mean, None),
        ("sum", lambda values, weights: jnp.sum(values * weights), case.mask()),
        ("mean", jaxloss.reductions.mean, case.mask()),
    )

    def reduced(*arrays):
        loss = case.loss()
        return [[loss(*arrays, where=where, reduction=one) for one in pair] for *pair, where in pairs]

    for own, theirs in jax.jit(reduced)(*arrays):
        assert_close(theirs, own, 1e-6)


@every_case
def test_a_callable_reduction_gets_the_unreduced_losses_and_what_they_count(case):
    """Nothing else: their largest is a loss of one example, and with their weights they are what "none" returns."""
    arrays = as_arrays(case.draw(), "float32")
    values, weights = jax.jit(functools.partial(case.loss(), reduction=lambda values, weights: (values, weights)))(
        *arrays
    )
    unreduced = case.oracle([np.asarray(array) for array in arrays], "none")
    assert_close(np.where(weights == 0, 0, values) * weights, unreduced, 1e-5)
    assert np.max(np.abs(values)) <= 4 * max(np.max(np.abs(unreduced)), 1)


@every_row
def test_a_callable_reduction_gets_zero_for_what_the_mask_hides(case):
    where = case.mask()
    spoilt = case.with_garbage(case.draw(), where, np.float32)
    values, weights = case.loss()(*spoilt, where=where, reduction=lambda values, weights: (values, weights))
    # Compiled as a whole, "none" may round in another way.
    np.testing.assert_allclose(values, case.loss()(*spoilt, where=where, reduction="none"), rtol=1e-5, atol=1e-6)
    assert weights.shape == values.shape
    if values.shape == where.shape:
        np.testing.assert_array_equal(weights, where)
        assert (np.asarray(values)[~where] == 0).all()


@every_row
@hypothesis.given(data=st.data())
def test_any_shape_axis_mask_and_reduction(case, data):
    variants = [c for c in CASES if c.row is case.row and not any(np.ndim(v) == 2 for v in c.options.values())]
    # A list of quantiles has one length, that of the last axis.
    variants = [c for c in variants if not np.ndim(c.options.get("quantile", 0))]
    case = data.draw(st.sampled_from(variants))
    batch = tuple(data.draw(st.lists(st.integers(1, 3), max_size=3)))
    hypothesis.assume(case.row.name == "dice_loss" or -len(batch) - 1 <= case.options.get("axis", -1) <= len(batch))
    if case.row.name == "dice_loss":
        hypothesis.assume(len(batch) >= np.size(case.options.get("axis", [])))
    where = data.draw(st.none() | st.builds(lambda seed: case.mask(seed, batch), st.integers(0, 99)))
    reduction = data.draw(st.sampled_from(["mean", "sum", "none", case.row.default_reduction]))
    arrays = as_arrays(case.draw(data.draw(st.integers(0, 99)), batch), "float32")
    actual = jax.jit(lambda *arrays: case.loss()(*arrays, where=where, reduction=reduction))(*arrays)
    exact = [np.asarray(array) for array in arrays]
    assert_close(actual, case.oracle(exact, reduction, True if where is None else where), 1e-5)


# Contracts


def refused(case, args, options, message, error: type[Exception] = AssertionError):
    message = f"(?s){case.row.name}: .*{message}"
    with pytest.raises(error, match=message):
        case.row.loss(*args, **options)
    static = {name: value for name, value in options.items() if not isinstance(value, np.ndarray)}
    arrays = {name: value for name, value in options.items() if isinstance(value, np.ndarray)}
    with pytest.raises(error, match=message):
        jax.jit(lambda args, arrays: case.row.loss(*args, **arrays, **static))(args, arrays)


@every_row
def test_wrong_dtypes_and_shapes_are_refused(case):
    drawn = [np.asarray(array) for array in as_arrays(case.draw(), "float32")]
    for position, name in enumerate(case.arguments()):
        right = drawn[position]
        wrongs = [right.astype(dtype) for dtype in (bool, np.complex64, np.int32 if right.dtype == "f" else np.float32)]
        if position:
            wrongs += [right[..., None], right[:2], right[0], right[None]]
            wrongs += [right[:1]] if name != "var" else []  # a variance may be shared along one axis
        for wrong in wrongs:
            args = [*drawn[:position], wrong, *drawn[position + 1 :]]
            refused(case, args, {}, f"`{name}` must .* got {wrong.dtype} of shape")
        for wrong in (drawn[position].tolist(), None, "text"):
            with pytest.raises(TypeError, match=f"{case.row.name}: `{name}` must be an array, got"):
                case.row.loss(*drawn[:position], wrong, *drawn[position + 1 :])


@every_row
def test_wrong_masks_and_reductions_are_refused(case):
    drawn = [np.asarray(array) for array in as_arrays(case.draw(), "float32")]
    for where in (
        np.ones(BATCH, np.float32),
        np.ones(BATCH, np.int32),
        np.ones((2, 4), bool),
        np.ones((*BATCH, 1), bool),
        np.ones((1, *BATCH), bool),
    ):
        refused(case, drawn, {"where": where}, "`where` must be boolean and broadcast to")
    for reduction in ("avg", None, "Mean", 0):
        refused(case, drawn, {"reduction": reduction}, "`reduction` must be one of", ValueError)
    if case.row.default_reduction != "batchmean":
        refused(case, drawn, {"reduction": "batchmean"}, "`reduction` must be one of", ValueError)
    with pytest.raises(TypeError, match="positional"):
        case.row.loss(*drawn, *drawn)


@every_row
def test_the_rows_own_wrong_calls_are_refused(case):
    for bad in case.row.refuses:
        refused(case, bad.args, bad.options, bad.message, bad.error)


def checked(case, args, options, static):
    step = jax.value_and_grad(lambda args, options: case.row.loss(*args, **options, **static), allow_int=True)
    return chex.chexify(jax.jit(step), async_check=False)(args, options)


@every_row
def test_bad_values_are_reported_when_asked_for(case):
    for bad in case.row.reports:
        static = {name: value for name, value in bad.options.items() if not isinstance(value, np.ndarray)}
        traced = {name: value for name, value in bad.options.items() if isinstance(value, np.ndarray)}
        with pytest.raises(checkify.JaxRuntimeError, match=f"{case.row.name}: {bad.message}"):
            checked(case, bad.args, traced, static)


@every_row
def test_bad_values_that_nobody_checks_are_nan_in_value_and_gradient(case):
    for bad in case.row.reports:
        arrays = {name: value for name, value in bad.options.items() if isinstance(value, np.ndarray)}
        static = {name: value for name, value in bad.options.items() if name not in arrays}
        step = jax.value_and_grad(lambda pred, rest, arrays: case.row.loss(pred, *rest, **arrays, **static))  # noqa: B023
        value, gradient = jax.jit(step)(bad.args[0], bad.args[1:], arrays)
        assert bool(np.isnan(value)) is not bad.plausible, bad.message
        assert bool(np.isnan(gradient).any()) is not bad.plausible, bad.message


@every_row
def test_traced_options_out_of_their_domain_are_reported(case):
    for bad in case.row.refuses:
        ((name, value),) = bad.options.items() if len(bad.options) == 1 else (("", None),)
        if bad.error is ValueError and name in case.row.traced:
            with pytest.raises(checkify.JaxRuntimeError, match=f"{case.row.name}: `{name}` must be"):
                checked(case, bad.args, {name: jnp.asarray(value, jnp.float32)}, {})


@every_row
def test_traced_options_out_of_their_domain_are_nan_in_value_and_gradient(case):
    for bad in case.row.refuses:
        ((name, value),) = bad.options.items() if len(bad.options) == 1 else (("", None),)
        if bad.error is ValueError and name in case.row.traced:
            options = next((options for options in case.row.variants if name in options), {})
            used = Case(case.row, {key: given for key, given in options.items() if key != name}, case.name)
            step = jax.jit(jax.value_and_grad(lambda *args: used.loss()(*args[:-1], **{name: args[-1]})))  # noqa: B023
            arrays = as_arrays(Case(case.row, options, case.name).draw(), "float32")
            loss, gradient = step(*arrays, jnp.asarray(value, jnp.float32))
            assert np.isnan(loss), name
            assert np.isnan(gradient).any(), name


@every_case
def test_good_values_are_not_reported(case):
    where = case.mask()
    clean = as_arrays(case.draw(), "float32")
    spoilt = [jnp.asarray(array) for array in case.with_garbage(case.draw(), where, np.float32)]
    loss = case.loss()

    def steps(clean, spoilt):
        plain = jax.value_and_grad(loss)(*clean)
        masked = jax.value_and_grad(lambda *arrays: loss(*arrays, where=where))(*spoilt)
        return plain, masked

    plain, masked = chex.chexify(jax.jit(steps), async_check=False)(clean, spoilt)
    assert np.isfinite(plain[0])
    assert np.isfinite(masked[0])


@every_row
def test_bad_values_are_reported_from_inside_transformations(case):
    if not case.row.reports:
        pytest.fail("no value contract") if case.row.name not in WITHOUT_VALUE_CONTRACT else None
        return
    bad = case.row.reports[0]
    loss = functools.partial(case.row.loss, **bad.options)

    def mapped(*args):
        return jax.vmap(lambda *args: loss(*args))(*(jnp.stack([arg, arg]) for arg in args))

    def scanned(*args):
        return jax.lax.scan(lambda carry, _: (carry, loss(*args)), 0, None, length=2)

    for transformed in (mapped, scanned, jax.checkpoint(loss)):
        error, _ = checkify.checkify(jax.jit(transformed))(*bad.args)
        with pytest.raises(checkify.JaxRuntimeError, match=f"{case.row.name}: {bad.message}"):
            error.throw()


WITHOUT_VALUE_CONTRACT = {
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "log_cosh_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
}


def test_every_row_has_bad_values_or_admits_any_value():
    assert {row.name for row in TABLE if not row.reports} == WITHOUT_VALUE_CONTRACT


# The package as a whole

PUBLIC = [
    getattr(jaxloss, name)
    for name in jaxloss.__all__
    if inspect.isfunction(getattr(jaxloss, name)) and name != "weighted_sum"
]
ORDER = (  # noqa: SIM905 read as a sentence
    "from_logits axis bias beta delta quantile weight pos_weight alpha gamma ignore_index label_smoothing z_loss "
    "logit_softcap chunk_size log_input log_target full distance_function margin p smooth eps swap input_lengths "
    "target_lengths blank zero_infinity where reduction"
).split()


def test_every_public_loss_has_a_row():
    assert {loss.__name__ for loss in PUBLIC} == {row.name for row in TABLE}
    assert len(TABLE) == len({row.name for row in TABLE})


@pytest.mark.parametrize("loss", PUBLIC, ids=lambda loss: loss.__name__)
def test_signatures_are_of_one_form(loss):
    parameters = inspect.signature(loss).parameters.values()
    options = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    arrays = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert arrays in (
        ["pred", "target"],
        ["pred", "target", "var"],
        ["pred", "kernel", "target"],
        ["input1", "input2", "target"],
        ["anchor", "positive", "negative"],
    )
    assert len(arrays) + len(options) == len(parameters)
    assert options == [name for name in ORDER if name in options]
    assert all(p.annotation is not p.empty for p in parameters)
    defaults = {p.name: p.default for p in parameters}
    assert defaults["where"] is None
    assert defaults["reduction"] == ("batchmean" if loss is jaxloss.kl_div else "mean")


@pytest.mark.parametrize("loss", PUBLIC, ids=lambda loss: loss.__name__)
def test_docstrings_are_complete(loss):
    text = inspect.getdoc(loss) or ""
    for part in ("Args:", "Returns:", "Raises:", "PyTorch:", "Reference:", ">>> "):
        assert part in text
    for name in inspect.signature(loss).parameters:
        assert f"\n    {name}: " in text
    family = getattr(jaxloss, loss.__module__.split(".")[-1])
    assert getattr(family, loss.__name__) is loss


# Memory

ELEMENTWISE = [
    jaxloss.mse_loss,
    jaxloss.l1_loss,
    jaxloss.smooth_l1_loss,
    jaxloss.huber_loss,
    jaxloss.log_cosh_loss,
    jaxloss.quantile_loss,
    jaxloss.poisson_nll_loss,
    jaxloss.binary_cross_entropy,
    jaxloss.binary_cross_entropy_with_logits,
    jaxloss.focal_loss,
    jaxloss.sigmoid_focal_loss,
    jaxloss.hinge_loss,
    jaxloss.squared_hinge_loss,
    jaxloss.soft_margin_loss,
    jaxloss.hinge_embedding_loss,
    jaxloss.kl_div,
]


@pytest.mark.parametrize("loss", ELEMENTWISE, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_elementwise_loss_stores_its_values_and_nothing_else(loss, dtype):
    array = jax.ShapeDtypeStruct((1024, 512), dtype)
    memory = jax.jit(jax.value_and_grad(loss)).lower(array, array).compile(OPTIMISED).memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes <= 1.01 * 4 * array.size


@pytest.mark.skipif(jax.__version_info__ < (0, 11, 2), reason="XLA on CPU then stores what it casts before it sums it")
@pytest.mark.parametrize(
    ("loss", "dtype"),
    [
        (jaxloss.mse_loss, "bfloat16"),
        (jaxloss.l1_loss, "bfloat16"),
        (jaxloss.soft_target_cross_entropy, "float32"),
    ],
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_what_is_summed_is_not_stored_beside_the_gradient(loss, dtype, reduction):
    array = jax.ShapeDtypeStruct((1024, 512), dtype)
    step = jax.jit(jax.value_and_grad(functools.partial(loss, reduction=reduction)))
    memory = step.lower(array, array).compile(OPTIMISED).memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < array.size / 8
