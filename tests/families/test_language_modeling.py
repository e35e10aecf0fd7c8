import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import jaxloss
from tests.support import THOROUGH

RNG = np.random.default_rng(0)
FEATURES = jnp.asarray(RNG.normal(size=(2, 6, 8)).astype(np.float32))
KERNEL = jnp.asarray(RNG.normal(size=(8, 11)).astype(np.float32))
BIAS = jnp.asarray(RNG.normal(size=11).astype(np.float32))
LABELS = jnp.asarray(RNG.integers(0, 11, size=(2, 6))).at[0, 2].set(-1)


@pytest.mark.one_in(8)
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

    @jax.jit
    def derived(*arrays):
        return [(loss(*arrays), jax.jacobian(loss, (0, 1, 2))(*arrays)) for loss in (fused, plain)]

    for ours, theirs in zip(*map(jax.tree.leaves, derived(FEATURES, KERNEL, BIAS)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.one_in(2)
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


@pytest.mark.one_in(2)
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


@pytest.mark.one_in(2)
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

    @functools.partial(jax.jit, static_argnums=0)
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


SCALARS = {"label_smoothing": jnp.float32(0.1), "z_loss": jnp.float32(0.1), "logit_softcap": jnp.float32(3.0)}
EVERY_OPTION = {"bias": BIAS, "weight": jnp.linspace(0.5, 2, 11), "ignore_index": -1, **SCALARS}


def value_and_slopes(options, features, kernel, labels):
    def loss(features, kernel):
        return jaxloss.linear_cross_entropy(features, kernel, labels, **options).sum()

    return jax.value_and_grad(loss, (0, 1))(features, kernel)


def assert_same(actual, expected, tolerance):
    for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == theirs.dtype
        ours, theirs = np.asarray(ours, np.float32), np.asarray(theirs, np.float32)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * abs(theirs).max())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("batch", "options"),
    [
        ("b", {}),
        ("b", {"chunk_size": 5}),
        ("b, 3", {"chunk_size": 5, "reduction": "sum", "ignore_index": 2, "label_smoothing": 0.1}),
        ("b, t", {"reduction": "none"}),
        ("b", {"chunk_size": 5, "reduction": "none", "z_loss": 0.1}),
    ],
)
def test_it_is_exported_with_a_batch_of_any_size(dtype, batch, options):
    step = jax.jit(functools.partial(value_and_slopes, options))
    sizes = export.symbolic_shape(batch)
    shapes = ((*sizes, 8), dtype), ((8, 11), dtype), (sizes, jnp.int32)
    exported = export.export(step)(*(jax.ShapeDtypeStruct(*shape) for shape in shapes))
    rng = np.random.default_rng(3)
    for first in (1, 7, 300) if THOROUGH else (300,):
        size = (first, 3)[: len(sizes)]
        features = jnp.asarray(rng.normal(size=(*size, 8)), dtype)
        arrays = features, KERNEL.astype(dtype), jnp.asarray(rng.integers(0, 11, size), jnp.int32)
        assert_same(exported.call(*arrays), step(*arrays), 1e-5 if dtype == "float32" else 2**-7)


def test_a_batch_of_symbolic_size_needs_little_of_the_memory_of_the_logits():
    def memory(loss):
        (tokens,) = export.symbolic_shape("b")
        shapes = ((tokens, 64), jnp.float32), ((64, 8192), jnp.float32), ((tokens,), jnp.int32)
        exported = export.export(jax.jit(jax.grad(loss, (0, 1))))(*(jax.ShapeDtypeStruct(*shape) for shape in shapes))
        known = [jax.ShapeDtypeStruct((2048, *shape[1:]) if shape[0] is tokens else shape, t) for shape, t in shapes]
        analysis = jax.jit(exported.call).lower(*known).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    def plain(features, kernel, labels):
        return jaxloss.cross_entropy(features @ kernel, labels)

    assert memory(jaxloss.linear_cross_entropy) <= 0.2 * memory(plain)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{"chunk_size": 12}, {"chunk_size": 5}, {"chunk_size": 5, "reduction": "none"}])
@pytest.mark.parametrize(
    "strict", [lambda: jax.numpy_dtype_promotion("strict"), lambda: jax.numpy_rank_promotion("raise")]
)
@pytest.mark.parametrize("enable_x64", [False, True])
def test_nothing_is_promoted_on_the_way(dtype, options, strict, enable_x64):
    arrays = FEATURES.astype(dtype), KERNEL.astype(dtype)
    with jax.enable_x64(enable_x64):
        labels = jnp.asarray(np.asarray(LABELS), jnp.int64 if enable_x64 else jnp.int32)
        expected = jax.eval_shape(functools.partial(value_and_slopes, EVERY_OPTION | options), *arrays, labels)
        with strict():
            traced = jax.eval_shape(functools.partial(value_and_slopes, EVERY_OPTION | options), *arrays, labels)
        assert traced == expected


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_blocks_leak_no_tracer(dtype):
    arrays = FEATURES.astype(dtype), KERNEL.astype(dtype), LABELS
    with jax.checking_leaks():

        @jax.jit
        def step(options, *arrays):
            return value_and_slopes(options | {"ignore_index": -1, "chunk_size": 5}, *arrays)

        step.lower({name: EVERY_OPTION[name] for name in ("bias", "weight", *SCALARS)}, *arrays)


@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "bfloat16"), ("float16", "bfloat16")])
def test_unlike_dtypes_are_multiplied_in_float32_and_like_halves_as_they_are(dtypes):
    features, kernel = FEATURES.astype(dtypes[0]), KERNEL.astype(dtypes[1])

    def operands(features, kernel):
        loss = functools.partial(jaxloss.linear_cross_entropy, target=jnp.abs(LABELS))
        products = [e for e in jax.make_jaxpr(loss)(features, kernel).eqns if e.primitive.name == "dot_general"]
        return {str(operand.aval).split("[")[0] for product in products for operand in product.invars}

    assert operands(features, kernel) == {"float32"}
    assert operands(features.astype("bfloat16"), kernel.astype("bfloat16")) == {"bfloat16"}
    gradients = value_and_slopes({"ignore_index": -1}, features, kernel, LABELS)[1]
    assert tuple(str(gradient.dtype) for gradient in gradients) == dtypes


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_many_small_blocks_keep_the_digits(reduction):
    """Equal tokens are rounded the same way in every sum: 250000 blocks were 3e-3 off."""
    token, kernel, bias = (np.asarray(array) for array in (FEATURES[0, 0], KERNEL, BIAS))
    features, labels = jnp.broadcast_to(token, (1_000_000, 8)), jnp.full(1_000_000, 3)

    def loss(kernel, bias):
        options = {"chunk_size": 4, "reduction": reduction}
        return jaxloss.linear_cross_entropy(features, kernel, labels, bias=bias, **options).mean()

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(kernel, bias)
    logits = token.astype(np.float64) @ kernel + bias
    likelihood = np.exp(logits) / np.exp(logits).sum()
    slope = likelihood - (np.arange(11) == 3)
    np.testing.assert_allclose(value, -np.log(likelihood[3]), rtol=1e-6)
    for ours, exact in zip(gradients, (np.outer(token, slope), slope), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=3e-5, atol=3e-5 * abs(exact).max())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("chunk_size", [12, 5])
def test_an_infinite_cap_is_none(dtype, chunk_size):
    arrays = FEATURES.astype(dtype), KERNEL.astype(dtype)

    def loss(cap, features, kernel):
        options = {"ignore_index": -1, "chunk_size": chunk_size, "logit_softcap": cap}
        return jaxloss.linear_cross_entropy(features, kernel, LABELS, **options)

    @jax.jit
    def known(*arrays):
        return [jax.value_and_grad(loss, (1, 2))(cap, *arrays) for cap in (None, float("inf"))]

    (expected, infinite), traced = known(*arrays), jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    tolerance = 1e-6 if dtype == "float32" else 2**-7
    assert_same(infinite, expected, tolerance)
    for cap in (jnp.inf, 3e38):  # A logit divided by the latter would be 0.
        value, (slope, *slopes) = traced(jnp.float32(cap), *arrays)
        assert_same((value, tuple(slopes)), expected, tolerance)
        assert slope == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{"chunk_size": 12}, {"chunk_size": 5}, {"chunk_size": 5, "reduction": "none"}])
def test_without_features_the_logits_are_the_bias(dtype, options):
    features, kernel = FEATURES[..., :0].astype(dtype), KERNEL[:0].astype(dtype)

    def ours(bias, features, kernel):
        all_options = {"bias": bias, "ignore_index": -1} | options
        return jaxloss.linear_cross_entropy(features, kernel, LABELS, **all_options).sum()

    def plain(bias):
        logits, reduction = jnp.broadcast_to(bias, (2, 6, 11)), options.get("reduction", "mean")
        return jaxloss.cross_entropy(logits, LABELS, ignore_index=-1, reduction=reduction).sum()

    value, (slopes, *empty) = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(BIAS, features, kernel)
    assert_same((value, slopes), jax.value_and_grad(plain)(BIAS), 1e-5)
    assert [array.shape for array in empty] == [(2, 6, 0), (0, 11)]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("chunk_size", [12, 5])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("options", [{}, EVERY_OPTION])
def test_a_nan_that_counts_is_a_nan_of_value_and_gradient(dtype, chunk_size, reduction, options):
    options = options | {"chunk_size": chunk_size, "reduction": reduction, "ignore_index": -1}
    arrays = FEATURES.astype(dtype), KERNEL.astype(dtype)
    step = jax.jit(functools.partial(value_and_slopes, options))
    value, (slopes, kernel_slopes) = step(arrays[0].at[0, 1, 2].set(jnp.nan), arrays[1], LABELS)
    assert jnp.isnan(value)
    assert jnp.isnan(slopes[0, 1]).all()
    assert jnp.isnan(kernel_slopes).all()
    assert jnp.isfinite(slopes[0, 2]).all()
    value, (slopes, kernel_slopes) = step(arrays[0], arrays[1].at[2, 3].set(jnp.nan), LABELS)
    assert jnp.isnan(value)
    assert jnp.isnan(slopes[LABELS >= 0]).all()
    assert jnp.isnan(kernel_slopes).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("chunk_size", [None, 4])
@pytest.mark.parametrize("precision", ["highest", jax.lax.Precision.HIGHEST])
def test_all_products_take_the_precision(precision, chunk_size, dtype):
    def loss(features, kernel):
        return jaxloss.linear_cross_entropy(features, kernel, LABELS, chunk_size=chunk_size, precision=precision)

    arrays = FEATURES.astype(dtype), KERNEL.astype(dtype)
    lowered = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*arrays).as_text()
    products = [line for line in lowered.splitlines() if "dot_general" in line]
    assert len(products) >= 3
    assert all("HIGHEST, HIGHEST" in line for line in products)


def test_precision_is_an_option_of_eager_calls():
    calls = [
        jaxloss.linear_cross_entropy(FEATURES, KERNEL, LABELS, ignore_index=-1, precision=precision)
        for precision in (None, "high", jax.lax.Precision.HIGHEST)
    ]
    np.testing.assert_allclose(calls, calls[0], rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1, "logit_softcap": 2.0, "weight": jnp.linspace(0, 2, 11)}]
)
@pytest.mark.parametrize("how", [{}, {"chunk_size": 4}, {"chunk_size": 4, "blocks": "classes"}], ids=str)
def test_padded_classes_are_as_if_they_were_not_there(options, how):
    labels = jnp.abs(LABELS) % 7

    def padded(features, kernel, bias):
        return jaxloss.linear_cross_entropy(features, kernel, labels, bias=bias, num_classes=7, **options, **how)

    def cut(features, kernel, bias):
        seven = options | ({"weight": options["weight"][:7]} if options else {})
        return jaxloss.linear_cross_entropy(features, kernel[:, :7], labels, bias=bias[:7], **seven)

    found, expected = (jax.jit(jax.value_and_grad(f, (0, 1, 2)))(FEATURES, KERNEL, BIAS) for f in (padded, cut))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    with_padding = jaxloss.linear_cross_entropy(FEATURES, KERNEL, labels.at[0, 0].set(7), num_classes=7, **how)
    assert np.isnan(with_padding)


def test_blocks_of_classes_under_vmap():
    """The passes are mapped as they are, and with their derivatives: over the tokens, or over the kernel."""
    kernels = jnp.stack([KERNEL, KERNEL * 0.5])

    def loss(features, kernel, labels):
        options = {"chunk_size": 4, "blocks": "classes", "bias": BIAS}
        return jaxloss.linear_cross_entropy(features, kernel, labels, **options)

    def derived(features, kernel, labels):
        of_kernel = functools.partial(loss, features, labels=labels)
        slope = lambda kernel: jnp.sum(jax.grad(of_kernel)(kernel) ** 2)  # noqa: E731
        return jax.value_and_grad(loss, (0, 1))(features, kernel, labels), jax.grad(slope)(kernel)

    labels, alone = jnp.abs(LABELS), jax.jit(derived)
    for axes in ((0, None, 0), (None, 0, None)):
        arrays = FEATURES if axes[0] == 0 else FEATURES[0], kernels if axes[1] == 0 else KERNEL, labels
        arrays = (*arrays[:2], labels if axes[2] == 0 else labels[0])
        mapped = jax.jit(jax.vmap(derived, axes))(*arrays)
        for place in range(2):
            one = [array[place] if axis == 0 else array for array, axis in zip(arrays, axes, strict=True)]
            for ours, theirs in zip(jax.tree.leaves(mapped), jax.tree.leaves(alone(*one)), strict=True):
                np.testing.assert_allclose(ours[place], theirs, rtol=1e-5, atol=1e-6)
