import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

RNG = np.random.default_rng(0)
FEATURES = jnp.asarray(RNG.normal(size=(2, 6, 8)).astype(np.float32))
KERNEL = jnp.asarray(RNG.normal(size=(8, 11)).astype(np.float32))
BIAS = jnp.asarray(RNG.normal(size=11).astype(np.float32))
LABELS = jnp.asarray(RNG.integers(0, 11, size=(2, 6))).at[0, 2].set(-1)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, jnp.linspace(0, 2, 11)])
def test_it_is_cross_entropy_of_the_dense_layer(reduction, smoothing, weight):
    options = {"weight": weight, "label_smoothing": smoothing, "ignore_index": -1, "reduction": reduction}

    def fused(features, kernel, bias):
        return jaxloss.linear_cross_entropy(features, kernel, LABELS, bias=bias, **options)

    def plain(features, kernel, bias):
        return jaxloss.cross_entropy(features @ kernel + bias, LABELS, **options)

    for ours, theirs in zip(
        jax.tree.leaves((fused(FEATURES, KERNEL, BIAS), jax.jacobian(fused, (0, 1, 2))(FEATURES, KERNEL, BIAS))),
        jax.tree.leaves((plain(FEATURES, KERNEL, BIAS), jax.jacobian(plain, (0, 1, 2))(FEATURES, KERNEL, BIAS))),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_nan_features_of_padding_do_not_reach_the_kernel():
    spoilt = FEATURES.at[0, 2].set(jnp.nan)

    def loss(features, kernel, bias):
        return jaxloss.linear_cross_entropy(features, kernel, LABELS, bias=bias, ignore_index=-1)

    for ours, theirs in zip(
        jax.grad(loss, (0, 1, 2))(spoilt, KERNEL, BIAS), jax.grad(loss, (0, 1, 2))(FEATURES, KERNEL, BIAS), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_pytorchs_transposed_kernel_is_refused():
    with pytest.raises(AssertionError, match="linear_cross_entropy: `kernel` must be .*PyTorch's is transposed"):
        jaxloss.linear_cross_entropy(FEATURES, KERNEL.T, LABELS)
