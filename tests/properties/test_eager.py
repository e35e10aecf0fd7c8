"""Eager calls are compiled once, and are the calls that they would be otherwise."""

import functools
import inspect
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from jax.core import Tracer

import jaxloss
from jaxloss import classification
from jaxloss._contracts import Contract
from tests.catalogue import TABLE
from tests.support import FAMILIES, THOROUGH, as_arrays, assert_close

LOGITS = jax.random.normal(jax.random.key(0), (7, 13))
LABELS = jnp.arange(7)


@pytest.fixture
def traces(monkeypatch):
    """One entry for each time that the formula of `cross_entropy` runs in Python."""
    runs, formula = [], classification.label_losses

    def counted(*args, **options):
        runs.append(args)
        return formula(*args, **options)

    monkeypatch.setattr(classification, "label_losses", counted)
    return runs


@pytest.fixture
def runs(monkeypatch):
    """The name of the loss, each time that one runs in Python."""
    names, init = [], Contract.__init__

    def counted(self, function):
        names.append(function)
        init(self, function)

    monkeypatch.setattr(Contract, "__init__", counted)
    return names


def test_every_loss_is_compiled_when_eager():
    assert all(hasattr(row.loss, "__wrapped__") for row in TABLE)


@pytest.mark.parametrize(
    ("call", "ignored"), [(jaxloss.cross_entropy, 3), (jax.grad(jaxloss.cross_entropy), 4)], ids=["value", "gradient"]
)
def test_the_formula_runs_at_the_first_call_alone(traces, call, ignored):
    smoothing = 0.1
    first = call(LOGITS, LABELS, label_smoothing=smoothing, ignore_index=ignored)
    assert len(traces) == 1
    second = call(LOGITS, LABELS, label_smoothing=smoothing + 0.1, ignore_index=ignored)
    assert len(traces) == 1
    assert not np.array_equal(first, second)
    call(LOGITS, LABELS, label_smoothing=smoothing, ignore_index=ignored + 2)
    assert len(traces) == 2


def test_what_is_new_at_each_call_is_not_compiled_at_each_call(traces):
    for _ in range(3):
        jaxloss.cross_entropy(LOGITS, LABELS, reduction=lambda values, weights: values.max())
    assert len(traces) == 3
    assert not any(isinstance(args[0], Tracer) for args in traces)


def test_inside_jit_nothing_is_compiled_apart(traces):
    jaxpr = jax.make_jaxpr(jax.grad(jaxloss.cross_entropy))(LOGITS, LABELS)
    assert len(traces) == 1
    assert "cross_entropy" not in str(jaxpr)


VALUES, MASKS = LOGITS[:, 0], jnp.float32(LOGITS > 0)
CALLS = {
    "a number for an array": lambda: jaxloss.gaussian_nll_loss(VALUES, -VALUES, 1.0),
    "another number for it": lambda: jaxloss.gaussian_nll_loss(VALUES, -VALUES, 1.5),
    "an integer for it": lambda: jaxloss.gaussian_nll_loss(VALUES, -VALUES, 1),
    "numbers for arrays": lambda: jaxloss.mse_loss(1.0, 2.0),
    "a number of NumPy's": lambda: jaxloss.huber_loss(VALUES, -VALUES, delta=np.float32(1.5)),
    "a small array of NumPy's": lambda: jaxloss.huber_loss(VALUES, -VALUES, delta=np.array(1.5)),
    "a bfloat16 of NumPy's": lambda: jaxloss.huber_loss(VALUES, -VALUES, delta=jnp.bfloat16(1.5)),
    "a list of axes": lambda: jaxloss.dice_loss(LOGITS, MASKS, axis=[0, 1]),
    "a label": lambda: jaxloss.cross_entropy(LOGITS[0], 3),
    "a label by name": lambda: jaxloss.cross_entropy(LOGITS[0], target=3),
    "a label of NumPy's": lambda: jaxloss.cross_entropy(LOGITS[0], np.int64(3)),
    "bfloat16 of NumPy's": lambda: jaxloss.mse_loss(np.asarray(VALUES, jnp.bfloat16), np.asarray(VALUES, jnp.bfloat16)),
    "a parameter": lambda: jaxloss.mse_loss(nnx.Param(VALUES), -VALUES),
    "a parameter for an option": lambda: jaxloss.huber_loss(VALUES, -VALUES, delta=nnx.Param(jnp.float32(2))),
    "a partial": lambda: jaxloss.mse_loss(VALUES, -VALUES, reduction=functools.partial(jaxloss.reductions.mean)),
    "a partial with keywords": lambda: jaxloss.mse_loss(
        VALUES, -VALUES, reduction=functools.partial(jaxloss.reductions.sum, axis_name=None)
    ),
    "a count": lambda: jaxloss.mse_loss(
        VALUES, -VALUES, reduction=functools.partial(jaxloss.reductions.mean, count=VALUES.size + 0.5)
    ),
    "a count that is an array": lambda: jaxloss.mse_loss(
        VALUES, -VALUES, reduction=functools.partial(jaxloss.reductions.sequence_mean, count=jnp.int32(9))
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_whatever_the_contract_accepts_is_compiled(runs, call):
    first = call()
    runs.clear()
    np.testing.assert_array_equal(call(), first)
    assert not runs
    with jax.disable_jit():
        np.testing.assert_allclose(call(), first, rtol=1e-6)


def numbers(case):
    """Options that are numbers and may be traced."""
    parameters = inspect.signature(case.record.loss).parameters.items()
    return [name for name, p in parameters if name in case.record.traced and float in typing.get_args(p.annotation)]


NUMBERS = [
    pytest.param(case, name, id=f"{case.record.name}-{name}")
    for case in FAMILIES
    for name in numbers(case)[: None if THOROUGH else 1]
]


@pytest.mark.parametrize(("case", "name"), NUMBERS)
def test_a_number_that_changes_compiles_nothing_and_is_what_it_is_in_jit(runs, case, name):
    given = [options.get(name) for options in case.record.variants]
    # In the domain, whatever it is, and none that stands for another formula.
    usual = next((value for value in given if isinstance(value, float) and 0 < value < np.inf), 0.75)
    first, second = 0.875 * usual, 0.75 * usual
    with jax.enable_x64(True):  # where an option could raise the precision
        arrays = as_arrays(case.draw(), "float32")
        loss = case.record.loss
        loss(*arrays, **{name: first})
        runs.clear()
        eager, gradient = jax.value_and_grad(loss)(*arrays, **{name: second})
        assert not runs
        jitted, jitted_gradient = jax.jit(jax.value_and_grad(lambda *arrays: loss(*arrays, **{name: second})))(*arrays)
        for actual, expected in ((eager, jitted), (gradient, jitted_gradient)):
            assert (actual.dtype, actual.weak_type) == (expected.dtype, expected.weak_type)
            assert_close(actual, expected, 1e-6)


def test_a_count_that_changes_compiles_nothing_and_is_judged_at_every_call(runs):
    def loss(count):
        return jaxloss.mse_loss(VALUES, -VALUES, reduction=functools.partial(jaxloss.reductions.mean, count=count))

    first = loss(10)
    runs.clear()
    for count in (20, np.int64(20), 20.0, np.array(20)):
        np.testing.assert_allclose(loss(count), first / 2, rtol=1e-6)
    assert runs.count("mse_loss") <= 1  # An integer and a float are two programs.
    for _ in range(2):
        with pytest.raises(ValueError, match="reductions.mean: `count` must be at least 0, got -3"):
            loss(-3)


@pytest.mark.parametrize("value", [-0.5, np.float32(-0.5), np.array(-0.5), float("nan"), -3])
@pytest.mark.parametrize("derive", [lambda loss: loss, jax.grad], ids=["value", "gradient"])
def test_a_number_out_of_its_domain_is_refused_at_every_call(value, derive):
    message = f"huber_loss: `delta` must be greater than 0, got {np.asarray(value).item()!r}."
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            derive(functools.partial(jaxloss.huber_loss, delta=value))(1.0, 2.0)
        jaxloss.huber_loss(1.0, 2.0, delta=0.5)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"`var` must be at least 0, got"):
            jaxloss.gaussian_nll_loss(LOGITS, LOGITS, value)


def test_an_integer_is_a_number_but_no_floating_array():
    value = float(jaxloss.gaussian_nll_loss(0.0, 2.0, 2))
    assert value == pytest.approx(float(jaxloss.gaussian_nll_loss(0.0, 2.0, 2.0)))
    for huge in (10**10, 1e10):
        assert float(jaxloss.huber_loss(0.0, 2.0, delta=huge)) == 2.0
    assert float(jaxloss.gaussian_nll_loss(0.0, 2.0, 1e10)) == pytest.approx(11.512925)
    for args in ((1, 2.0), (1.0, 2), (True, 2.0)):
        with pytest.raises(AssertionError, match="must be floating"):
            jaxloss.mse_loss(*args)


def test_numbers_of_numpy_keep_their_precision_as_arrays():
    with jax.enable_x64(True):
        for one in (np.float32(1), np.array(1, np.float32)):
            assert jaxloss.mse_loss(one, 2 * one).dtype == jnp.float32
            assert jaxloss.gaussian_nll_loss(one, one, one).dtype == jnp.float32


def test_a_domain_that_depends_on_the_shape_is_that_of_each_call():
    few, many = jnp.ones((2, 3)), jnp.ones((2, 3000))
    jaxloss.triplet_margin_loss(few, 2 * few, 0 * few, p=0.05)
    with pytest.raises(ValueError, match="`p` must be greater than 0 and at least .* for 3000 features, got 0.05"):
        jaxloss.triplet_margin_loss(many, 2 * many, 0 * many, p=0.05)
    jaxloss.triplet_margin_loss(few, 2 * few, 0 * few, p=0.05)


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.0, np.float32(1)])
def test_numbers_that_stand_for_another_formula_are_known_to_it(traces, value):
    jaxloss.cross_entropy(LOGITS, LABELS, label_smoothing=value, ignore_index=11)
    assert [args[4] for args in traces if not isinstance(args[4], Array)] == [value] * len(traces)


def test_equal_numbers_of_different_types_are_different_options():
    jaxloss.linear_cross_entropy(LOGITS, LOGITS.T, LABELS % 7, chunk_size=1)
    with pytest.raises(ValueError, match="chunk_size"):
        jaxloss.linear_cross_entropy(LOGITS, LOGITS.T, LABELS % 7, chunk_size=True)


def test_without_the_method_of_jax_that_it_asks_the_results_are_the_same(monkeypatch):
    compiled = jax.value_and_grad(jaxloss.cross_entropy)(LOGITS, LABELS)
    monkeypatch.delattr(Tracer, "to_concrete_value")
    for ours, theirs in zip(jax.value_and_grad(jaxloss.cross_entropy)(LOGITS, LABELS), compiled, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_derivatives_of_higher_order_and_in_forward_mode():
    def loss(logits):
        return jaxloss.cross_entropy(logits, LABELS)

    for derivative in (jax.jacfwd(loss), jax.jacrev(loss), jax.hessian(loss), jax.jacrev(jax.grad(loss))):
        np.testing.assert_allclose(derivative(LOGITS), jax.jit(derivative)(LOGITS), rtol=1e-5, atol=1e-7)
