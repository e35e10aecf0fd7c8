"""The wall of margins and sparse distributions: how the formulas of other libraries fail, each reproduced here."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxloss

SCORES = jnp.array([[0.5, 2.0, 0.0, 1.5]])


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("multiclass_hinge_loss", 7),
        ("multiclass_hinge_loss", -1),
        ("multiclass_perceptron_loss", 7),
        ("multiclass_sparsemax_loss", -1),
    ],
)
def test_a_label_out_of_range_gives_no_plausible_number(name, label):
    """optax 0.2.8: a row of zeros in place of a one-hot one, and a negative index counts from the end."""
    labels = jnp.array([label])
    assert np.isfinite(getattr(optax.losses, name)(SCORES, labels)).all()
    loss = getattr(jaxloss, name.replace("multiclass_sparsemax", "sparsemax"))
    value, gradient = jax.value_and_grad(loss)(SCORES, labels)
    assert np.isnan(value)
    assert np.isnan(gradient).all()


def test_a_logit_of_minus_infinity_has_a_probability_of_zero():
    """https://github.com/deep-spin/entmax/issues/9: the mean of squares of a row that holds -inf is NaN."""

    def threshold_of_sorted(logits):
        ordered, size = -jnp.sort(-logits / 2), jnp.arange(1, logits.size + 1)
        mean = jnp.cumsum(ordered) / size
        spread = size * (jnp.cumsum(ordered**2) / size - mean**2)
        return mean - jnp.sqrt(jnp.clip((1 - spread) / size, 0))

    logits = jnp.array([1.0, 0.5, -jnp.inf])
    assert np.isnan(threshold_of_sorted(logits)).any()
    for loss in (jaxloss.entmax15_loss, jaxloss.sparsemax_loss):
        value, gradient = jax.value_and_grad(loss)(logits, jnp.array(0))
        expected, of_possible = jax.value_and_grad(loss)(logits[:2], jnp.array(0))
        assert value == expected
        assert gradient.tolist() == [*of_possible.tolist(), 0]
        assert loss(logits, jnp.array(2)) == np.inf
