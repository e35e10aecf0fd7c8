"""Eager calls are compiled once, and are the calls that they would be otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer

import jaxloss
from jaxloss import classification
from tests.cases import TABLE

LOGITS = jax.random.normal(jax.random.key(0), (7, 13))
LABELS = jnp.arange(7)


@pytest.fixture
def traces(monkeypatch):
    """One entry for each time that the formula of `cross_entropy` runs in Python."""
    runs, formula = [], classification.index_losses

    def counted(*args):
        runs.append(args)
        return formula(*args)

    monkeypatch.setattr(classification, "index_losses", counted)
    return runs


def test_every_loss_is_compiled_when_eager():
    assert all(hasattr(row.loss, "__wrapped__") for row in TABLE)


@pytest.mark.parametrize(
    ("call", "ignored"), [(jaxloss.cross_entropy, 3), (jax.grad(jaxloss.cross_entropy), 4)], ids=["value", "gradient"]
)
def test_the_formula_runs_at_the_first_call_alone(traces, call, ignored):
    smoothing = jnp.float32(0.1)
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
