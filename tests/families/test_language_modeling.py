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
@pytest.mark.parametrize("chunk_size", [None, 4, 5])
def test_it_is_cross_entropy_of_the_dense_layer(reduction, smoothing, weight, chunk_size):
    options = {"weight": weight, "label_smoothing": smoothing, "ignore_index": -1, "reduction": reduction}

    def fused(features, kernel, bias):
        return jaxloss.linear_cross_entropy(features, kernel, LABELS, bias=bias, chunk_size=chunk_size, **options)

    def plain(features, kernel, bias):
        return jaxloss.cross_entropy(features @ kernel + bias, LABELS, **options)

    for ours, theirs in zip(
        jax.tree.leaves((fused(FEATURES, KERNEL, BIAS), jax.jacobian(fused, (0, 1, 2))(FEATURES, KERNEL, BIAS))),
        jax.tree.leaves((plain(FEATURES, KERNEL, BIAS), jax.jacobian(plain, (0, 1, 2))(FEATURES, KERNEL, BIAS))),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("frozen", [(), (0,), (1,)])
def test_blocks_of_the_default_size_and_of_the_kernel_change_nothing(dtype, frozen):
    rng = np.random.default_rng(1)
    inputs = [jnp.asarray(rng.normal(size=shape), dtype) for shape in ((7, 43, 45), (45, 13), (13,))]
    labels = jnp.asarray(rng.integers(0, 13, size=(7, 43)))
    wanted = [position for position in range(3) if position not in frozen]

    def loss(features, kernel, bias, chunk_size):
        return jaxloss.linear_cross_entropy(features, kernel, labels, bias=bias, chunk_size=chunk_size)

    blocks, whole = (jax.jit(jax.grad(loss, wanted), static_argnums=3)(*inputs, size) for size in (None, 301))
    for ours, theirs in zip(blocks, whole, strict=True):
        assert ours.dtype == dtype
        tolerance = 1e-5 if dtype == "float32" else 2**-7
        ours, theirs = (np.asarray(gradient, np.float32) for gradient in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * abs(theirs).max())


# XLA:CPU of the jax before copied what a loop updates; there blocks of tokens sum a gradient in float32.
BFLOAT16 = 0.1 if jax.__version_info__ >= (0, 11, 2) else 0.4


@pytest.mark.parametrize(("dtype", "share"), [("float32", 0.1), ("bfloat16", BFLOAT16)])
def test_the_gradient_needs_little_of_the_memory_of_the_logits(dtype, share):
    shapes = [(2048, 512), (512, 32768), (32768,)]
    inputs = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    labels = jax.ShapeDtypeStruct((2048,), jnp.int32)

    def memory(loss):
        step = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
        analysis = step.lower(*inputs, labels).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    def ours(features, kernel, bias, labels):
        return jaxloss.linear_cross_entropy(features, kernel, labels, bias=bias)

    def plain(features, kernel, bias, labels):
        return jaxloss.cross_entropy(features @ kernel + bias, labels)

    assert memory(ours) <= share * memory(plain)


HARD_BIAS = jnp.where(jnp.arange(11) == 3, -jnp.inf, BIAS)


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 0.1, "weight": jnp.where(jnp.arange(11) == 3, 0.0, 2.0), "bias": HARD_BIAS},
        {"logit_softcap": 3.0, "z_loss": 0.1, "ignore_index": 2, "reduction": "sum"},
        {"bias": HARD_BIAS},
        {"bias": jnp.where(jnp.arange(11) == 3, jnp.inf, BIAS)},
        {"bias": jnp.where(jnp.arange(11) == 3, 0.0, -jnp.inf)},
    ],
)
@pytest.mark.parametrize("labels", [jnp.abs(LABELS), jnp.where(LABELS < 3, LABELS, 11), jnp.full_like(LABELS, 3)])
def test_a_bfloat16_layer_has_the_gradient_of_the_float32_one(options, labels):
    arrays = {name: value for name, value in options.items() if name in ("bias", "z_loss", "logit_softcap")}
    if "z_loss" in options:  # A weight of 0 that silences an infinite loss has no slope.
        arrays["weight"] = jnp.linspace(0, 2, 11)

    def loss(features, kernel, arrays):
        return jaxloss.linear_cross_entropy(features, kernel, labels, chunk_size=3, **(options | arrays))

    half = [FEATURES.astype(jnp.bfloat16), KERNEL.astype(jnp.bfloat16)]
    step = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    value, gradients = step(*half, arrays)
    expected, slopes = step(*(array.astype(jnp.float32) for array in half), arrays)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(slopes), strict=True):
        ours, theirs = np.asarray(ours, np.float32), np.asarray(theirs)
        if np.isnan(expected) and not theirs.ndim:
            continue  # Of an index out of range the slope of an option may be NaN or not.
        largest = abs(theirs).max(where=np.isfinite(theirs), initial=0)
        np.testing.assert_allclose(ours, theirs, rtol=2**-7, atol=2**-7 * largest)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("reduction", ["mean", "none", lambda values, weights: jnp.sum(values * weights) / 4096])
def test_half_precision_does_not_lose_digits_with_the_number_of_blocks(dtype, reduction):
    rng = np.random.default_rng(2)
    features, kernel = abs(rng.normal(size=(4096, 8))), rng.normal(size=(8, 16))
    labels = jnp.asarray(rng.integers(0, 16, size=4096))

    def gradient(dtype):
        def loss(kernel):
            half = jnp.asarray(features, dtype), kernel.astype(dtype)
            return jaxloss.linear_cross_entropy(*half, labels, reduction=reduction, chunk_size=16).mean()

        return np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(jnp.asarray(kernel, dtype), jnp.float32)))

    exact = gradient("float32")
    np.testing.assert_allclose(gradient(dtype), exact, atol=float(jnp.finfo(dtype).eps) * abs(exact).max())


def test_second_order_of_blocks_in_every_mode():
    direction = jnp.ones_like(KERNEL)

    def derivatives(chunk_size):
        def loss(kernel):
            return jaxloss.linear_cross_entropy(FEATURES, kernel, LABELS, ignore_index=-1, chunk_size=chunk_size)

        gradient = jax.grad(loss)
        forward = jax.jvp(loss, [KERNEL], [direction])[1]
        over = jax.jvp(gradient, [KERNEL], [direction])[1]
        reverse = jax.grad(lambda kernel: jnp.vdot(gradient(kernel), direction))(KERNEL)
        return forward, over, reverse

    for ours, theirs in zip(derivatives(5), derivatives(12), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


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
