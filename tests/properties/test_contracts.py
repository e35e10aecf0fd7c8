"""What every loss refuses while tracing, and reports at run time when asked to."""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from tests.catalogue import TABLE
from tests.support import FAMILIES, FIRST, REPRESENTATIVES, THOROUGH, Case, as_arrays, as_option

every_record = pytest.mark.parametrize("case", FIRST, ids=[case.record.name for case in FIRST])
every_representative = pytest.mark.parametrize(
    "case", REPRESENTATIVES, ids=[case.record.name for case in REPRESENTATIVES]
)
every_family = pytest.mark.parametrize("case", FAMILIES, ids=[case.record.name for case in FAMILIES])


# Refused


def refused(case, args, options, message, error: type[Exception] = AssertionError):
    message, options = f"(?s){case.record.name}: .*{message}", required(case) | options
    with pytest.raises(error, match=message):
        case.record.loss(*args, **options)
    if THOROUGH:  # An eager call is traced too.
        arrays, static = apart(options)
        with pytest.raises(error, match=message):
            jax.eval_shape(lambda args, arrays: case.record.loss(*args, **arrays, **static), args, arrays)


def required(case):
    """The options without which there is no call."""
    parameters = inspect.signature(case.record.loss).parameters.values()
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    return {name: as_option(case.options[name]) for name in names}


def apart(options):
    """Arrays, and what else there is among the options."""
    arrays = {name: value for name, value in options.items() if isinstance(value, np.ndarray)}
    return arrays, {name: value for name, value in options.items() if name not in arrays}


@every_record
def test_wrong_dtypes_and_shapes_are_refused(case):
    drawn = [np.asarray(array) for array in as_arrays(case.draw(), "float32")]
    for position, name in enumerate(case.record.arrays):
        right = drawn[position]
        wrongs = [right.astype(dtype) for dtype in (bool, np.complex64, np.int32 if right.dtype == "f" else np.float32)]
        if position:
            wrongs += [right[..., None], right[None]] + ([right[:2], right[0]] if right.ndim else [])
            wrongs += [] if position in case.record.broadcast or not right.ndim else [right[:1]]
        for wrong in wrongs:
            args = [*drawn[:position], wrong, *drawn[position + 1 :]]
            refused(case, args, {}, f"`{name}` must .* got {wrong.dtype} of shape")
        for wrong in (np.atleast_1d(drawn[position]).tolist(), None, "text"):
            with pytest.raises(TypeError, match=f"{case.record.name}: `{name}` must be an array, got"):
                case.record.loss(*drawn[:position], wrong, *drawn[position + 1 :], **required(case))


@every_family
def test_wrong_masks_and_reductions_are_refused(case):
    drawn = [np.asarray(array) for array in as_arrays(case.draw(), "float32")]
    for where in (
        np.ones(case.batch(), np.float32),
        np.ones(case.batch(), np.int32),
        np.ones((2, 4), bool),
        np.ones((*case.batch(), 1), bool),
        np.ones((1, *case.batch()), bool),
    ):
        refused(case, drawn, {"where": where}, "`where` must be boolean and broadcast to")
    for reduction in ("avg", None, "Mean", 0):
        refused(case, drawn, {"reduction": reduction}, "`reduction` must be one of", ValueError)
    if case.record.default_reduction != "batchmean":
        refused(case, drawn, {"reduction": "batchmean"}, "`reduction` must be one of", ValueError)
    with pytest.raises(TypeError, match="positional"):
        case.record.loss(*drawn, *drawn)


@every_record
def test_the_records_own_wrong_calls_are_refused(case):
    for bad in case.record.refuses:
        refused(case, bad.args, bad.options, bad.message, bad.error)


# Reported


@functools.cache
def checked(case: Case, static: tuple[Any, ...]) -> Any:
    """The loss of (arrays, options that are arrays), compiled with its checks; with its gradient, if thorough.

    It is one program for all calls of the same shapes with the same static options.
    """

    def loss(args: Any, options: Any) -> Any:
        return case.record.loss(*args, **options, **dict(static))

    return jax.jit(checkify.checkify(jax.value_and_grad(loss, allow_int=True) if THOROUGH else loss))


@functools.cache
def unchecked(case: Case, static: tuple[Any, ...]) -> Any:
    """The same without checks, as users compile it."""

    def loss(pred: Any, rest: Any, options: Any) -> Any:
        return case.record.loss(pred, *rest, **options, **dict(static))

    return jax.jit(jax.value_and_grad(loss))


def hashed(options):
    """Static options, in a form that a cache takes."""
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in options.items())


@every_record
def test_bad_values_are_reported_when_asked_for(case):
    for bad in case.record.reports:
        arrays, static = apart(bad.options)
        error, _ = checked(case, hashed(static))(bad.args, arrays)
        with pytest.raises(checkify.JaxRuntimeError, match=f"{case.record.name}: {bad.message}"):
            error.throw()


@every_representative
def test_bad_values_that_nobody_checks_are_nan_in_value_and_gradient(case):
    for bad in case.record.reports:
        arrays, static = apart(bad.options)
        value, gradient = unchecked(case, hashed(static))(bad.args[0], bad.args[1:], arrays)
        assert bool(np.isnan(value)) is not bad.plausible, bad.message
        assert bool(np.isnan(gradient).any()) is not bad.plausible, bad.message


def out_of_domain(case):
    """Python numbers that are refused, where they may be traced: the call, the name of the option, the number."""
    for bad in case.record.refuses:
        if bad.error is ValueError and len(bad.options) == 1:
            ((name, value),) = bad.options.items()
            if name in case.record.traced:
                yield bad, name, jnp.asarray(value, jnp.float32)


@every_family
def test_traced_options_out_of_their_domain_are_reported(case):
    for bad, name, value in out_of_domain(case):
        error, _ = checked(case, ())(bad.args, {name: value})
        with pytest.raises(checkify.JaxRuntimeError, match=f"{case.record.name}: `{name}` must be"):
            error.throw()


@every_family
def test_traced_options_out_of_their_domain_are_nan_in_value_and_gradient(case):
    steps = {}
    for _, name, value in out_of_domain(case):
        if name not in steps:
            options = next((options for options in case.record.variants if name in options), {})
            used = Case(case.record, {key: given for key, given in options.items() if key != name}, case.name)
            step = jax.jit(jax.value_and_grad(lambda *args: used.loss()(*args[:-1], **{name: args[-1]})))  # noqa: B023
            steps[name] = step, as_arrays(Case(case.record, options, case.name).draw(), "float32")
        step, arrays = steps[name]
        loss, gradient = step(*arrays, value)
        assert np.isnan(loss), name
        assert np.isnan(gradient).any(), name


@every_family
def test_good_values_are_not_reported(case):
    where = case.mask()
    clean = as_arrays(case.draw(), "float32")
    spoilt = [jnp.asarray(array) for array in case.with_garbage(case.draw(), where, np.float32)]
    loss = case.loss()

    def steps(clean, spoilt):
        if not THOROUGH:  # What is kept is good, what is hidden is not.
            return [loss(*spoilt, where=where)]
        plain, _ = jax.value_and_grad(loss)(*clean)
        masked, _ = jax.value_and_grad(lambda *arrays: loss(*arrays, where=where))(*spoilt)
        return [plain, masked]

    error, values = jax.jit(checkify.checkify(steps))(clean, spoilt)
    error.throw()
    assert np.isfinite(values).all()


@every_family
def test_bad_values_are_reported_from_inside_transformations(case):
    for bad in case.record.reports[:1]:
        loss = functools.partial(case.record.loss, **bad.options)

        def mapped(*args):
            return jax.vmap(lambda *args: loss(*args))(*(jnp.stack([arg, arg]) for arg in args))  # noqa: B023

        def scanned(*args):
            return jax.lax.scan(lambda carry, _: (carry, loss(*args)), 0, None, length=2)  # noqa: B023

        for transformed in (mapped, scanned, jax.checkpoint(loss)):
            error, _ = checkify.checkify(jax.jit(transformed))(*bad.args)
            with pytest.raises(checkify.JaxRuntimeError, match=f"{case.record.name}: {bad.message}"):
                error.throw()


def test_every_record_has_bad_values_or_admits_any_value():
    assert [record.name for record in TABLE if bool(record.reports) is record.admits_any_value] == []
