import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxloss

PRED = jax.nn.log_softmax(jnp.array([[0.2, -1.0, 0.5], [1.0, 0.0, -2.0]]))
TARGET = jax.nn.softmax(jnp.array([[1.0, 0.0, -0.5], [0.3, 0.2, 0.1]]))


def checked(*args, **options):
    return chex.chexify(jax.jit(lambda *args: jaxloss.kl_div(*args, **options)), async_check=False)(*args)


def test_the_kl_example_of_the_documents():
    p, log_q = np.asarray(TARGET, np.float64), np.asarray(PRED, np.float64)
    elements = p * (np.log(p) - log_q)
    np.testing.assert_allclose(jaxloss.kl_div(PRED, TARGET), elements.sum() / 2, rtol=1e-5)
    np.testing.assert_allclose(jaxloss.kl_div(PRED, TARGET, reduction="mean"), elements.mean(), rtol=1e-5)
    np.testing.assert_allclose(jaxloss.kl_div(PRED, jnp.log(TARGET), log_target=True), elements.sum() / 2, rtol=1e-5)


def test_a_distribution_does_not_diverge_from_itself():
    np.testing.assert_allclose(jaxloss.kl_div(jnp.log(TARGET), TARGET), 0, atol=1e-7)


def test_pitfall_probabilities_instead_of_log_probabilities_are_reported():
    for classes in (3, 10, 4000):
        p = jax.nn.softmax(jax.random.normal(jax.random.key(0), (8, classes)))
        with pytest.raises(checkify.JaxRuntimeError, match="kl_div: `pred` must hold log-probabilities.*log_softmax"):
            checked(p, p)
        assert np.isfinite(checked(jnp.log(p), p))
        with pytest.raises(checkify.JaxRuntimeError, match="kl_div: `pred` must hold log-probabilities"):
            checked(p, p, where=jnp.ones_like(p, bool))


def test_logits_instead_of_log_probabilities_are_reported():
    logits = jax.random.normal(jax.random.key(0), (8, 10))
    for wrong in (logits, logits - 10):
        with pytest.raises(checkify.JaxRuntimeError, match="kl_div: `pred` must hold"):
            checked(wrong, jax.nn.softmax(logits))


def test_a_distribution_may_lie_along_any_axes():
    heatmaps = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (2, 12))).reshape(2, 3, 4)
    for log_p in (heatmaps, jnp.moveaxis(heatmaps, 0, -1), heatmaps[0], jax.nn.log_softmax(heatmaps, 1)):
        for dtype in (jnp.float32, jnp.bfloat16):
            assert np.isfinite(checked(log_p.astype(dtype), jnp.exp(log_p).astype(dtype)))


def test_a_masked_example_does_not_count_in_the_batch():
    where = jnp.array([[True], [False]])
    np.testing.assert_allclose(
        jaxloss.kl_div(PRED, TARGET, where=where), jaxloss.kl_div(PRED[:1], TARGET[:1]), rtol=1e-6
    )
