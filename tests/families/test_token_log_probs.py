"""Log-probabilities of tokens and entropies, from logits and from features, against the plain formula in float64."""

import functools
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxloss
from tests.support import as_elsewhere, assert_close

RNG = np.random.default_rng(0)
TOKENS, FEATURES, CLASSES = (8, 3), 8, 16
PRED, KERNEL, BIAS = (RNG.normal(size=shape) for shape in ((*TOKENS, FEATURES), (FEATURES, CLASSES), (CLASSES,)))
TEMPERATURE, CAP = np.float64(0.7), np.float64(2.0)
ARRAYS = PRED, KERNEL, BIAS, TEMPERATURE, CAP
# Labels on the edges of all shards.
LABELS = np.arange(24).reshape(TOKENS) % CLASSES
# What is made of the two outputs, and directions for tangents.
COTANGENTS = RNG.normal(size=(2, *TOKENS))
DIRECTION = [np.asarray(RNG.normal(size=np.shape(array))) for array in ARRAYS]


def plain(pred, kernel, bias, temperature, cap):
    """As people write it."""
    log_p = jax.nn.log_softmax(cap * jnp.tanh((pred @ kernel + bias) / cap) / temperature)
    return jnp.take_along_axis(log_p, LABELS[..., None], -1)[..., 0], -jnp.sum(jnp.exp(log_p) * log_p, -1)


def of_logits(pred, kernel, bias, temperature, cap, labels=LABELS, **more):
    options = {"logit_softcap": cap, "temperature": temperature, "with_entropy": True}
    return jaxloss.token_log_probs(pred @ kernel + bias, labels, **(options | more))


def of_features(pred, kernel, bias, temperature, cap, labels=LABELS, **more):
    options = {"logit_softcap": cap, "temperature": temperature, "with_entropy": True, "chunk_size": 4}
    return jaxloss.linear_token_log_probs(pred, kernel, labels, bias=bias, **(options | more))


BOTH = {"logits": of_logits, "logits elsewhere": as_elsewhere(of_logits), "features": of_features}
both = pytest.mark.parametrize("function", BOTH.values(), ids=BOTH)


def derived(function):
    """Values, their tangents, the gradient, and the second derivative along a direction, both ways."""

    def all_of_them(arrays, *constants):
        def of_arrays(arrays):
            return function(*arrays, *constants)

        def total(arrays):
            return sum(jnp.sum(cotangent * part) for cotangent, part in zip(COTANGENTS, of_arrays(arrays), strict=True))

        def slope(arrays):
            return sum(jnp.sum(part * along) for part, along in zip(gradient(arrays), DIRECTION, strict=True))

        gradient, along = jax.grad(total), [jnp.asarray(each) for each in DIRECTION]
        values, tangents = jax.jvp(of_arrays, (arrays,), (along,))
        return values, tangents, gradient(arrays), jax.grad(slope)(arrays), jax.jvp(gradient, (arrays,), (along,))[1]

    return jax.jit(all_of_them)


@functools.cache
def exact():
    with jax.enable_x64(True):
        return derived(plain)([jnp.asarray(array) for array in ARRAYS])


@both
def test_values_and_derivatives_are_those_of_the_plain_formula(function):
    with jax.enable_x64(True):
        found = derived(function)([jnp.asarray(array) for array in ARRAYS])
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(exact()), strict=True):
            assert_close(ours, theirs, 1e-12)


@both
def test_each_output_alone_and_mapped(function):
    """Under `vmap`, over kernels; the gradient of one output is not that of the other."""
    arrays = [jnp.asarray(array, jnp.float32) for array in ARRAYS]
    kernels = jnp.stack([arrays[1], 2 * arrays[1]])

    def gradients(function, kernel):
        def one(kernel, which):
            return jnp.vdot(COTANGENTS[0], function(arrays[0], kernel, *arrays[2:])[which])

        return [jax.grad(one)(kernel, which) for which in (0, 1)]

    found = jax.jit(jax.vmap(functools.partial(gradients, function)))(kernels)
    for position, kernel in enumerate(kernels):
        for ours, theirs in zip(found, jax.jit(functools.partial(gradients, plain))(kernel), strict=True):
            assert_close(ours[position], theirs, 2e-5)


@both
def test_without_the_entropy_the_log_probabilities_are_the_same(function):
    arrays = [jnp.asarray(array, jnp.float32) for array in ARRAYS]
    (log_probs, entropy), alone = (jax.jit(functools.partial(function, with_entropy=e))(*arrays) for e in (True, False))
    assert log_probs.dtype == entropy.dtype == jnp.float32
    assert_close(alone, log_probs, 1e-6)


def test_a_temperature_of_one_and_no_cap_are_the_default():
    logits = jnp.asarray(PRED @ KERNEL, jnp.float32)
    default = jaxloss.token_log_probs(logits, LABELS)
    assert_close(-default, jaxloss.cross_entropy(logits, LABELS, reduction="none"), 1e-6)
    assert_close(jaxloss.token_log_probs(logits, LABELS, temperature=1, logit_softcap=np.inf), default, 1e-6)
    assert_close(jaxloss.token_log_probs(jnp.moveaxis(logits, -1, 0), LABELS, axis=0), default, 1e-6)
    traced = jax.jit(lambda t: jaxloss.token_log_probs(logits, LABELS, temperature=t))
    assert_close(traced(0.5), jaxloss.token_log_probs(2 * logits, LABELS), 1e-6)


def from_bias(function, bias, labels, **more):
    """Both outputs of logits that are these numbers, and the gradient to them and to the temperature."""
    bias = jnp.asarray(bias, jnp.float32)
    shape = (*np.shape(labels), 2)

    def outputs(bias, temperature):
        arrays = jnp.zeros(shape), jnp.zeros((2, len(bias))), bias, temperature, None
        return function(*arrays, labels=labels, **more)

    def gradient(which):
        return jax.grad(lambda *arrays: outputs(*arrays)[which].sum(), (0, 1))(bias, jnp.float32(0.5))

    return *outputs(bias, jnp.float32(1)), gradient(0), gradient(1)


@both
def test_impossible_classes_add_nothing(function):
    bias = [0.0, -np.inf, 1.0, -np.inf, 2.0]
    log_probs, entropy, of_log_probs, of_entropy = from_bias(function, bias, np.array([2]))
    p = np.exp([0.0, 1, 2]) / np.exp([0.0, 1, 2]).sum()
    assert_close(log_probs, [np.log(p[1])], 1e-6)
    assert_close(entropy, [-(p * np.log(p)).sum()], 1e-6)
    p = np.exp([0.0, 2, 4]) / np.exp([0.0, 2, 4]).sum()
    slopes, slope = of_log_probs
    assert_close(slopes, [-2 * p[0], 0, 2 - 2 * p[1], 0, -2 * p[2]], 1e-6)
    assert_close(slope, -4 * (1 - p @ [0, 1, 2]), 1e-6)
    mean = p @ np.log(p)
    slopes, slope = of_entropy
    assert_close(slopes, np.insert(-2 * p * (np.log(p) - mean), (1, 2), 0), 1e-6)
    assert_close(slope, 4 * (p * (np.log(p) - mean)) @ [0, 1, 2], 1e-6)


@both
def test_one_possible_class_is_certain(function):
    """TRL issue 7221: its entropy is 0 and not NaN. And the log-probability of an impossible label is -inf."""
    log_probs, entropy, *gradients = from_bias(function, [-np.inf, 3.0, -np.inf], np.array([1]))
    assert log_probs == 0
    assert entropy == 0
    assert not any(np.any(gradient) for gradient in jax.tree.leaves(gradients))
    log_probs, entropy, _, gradients = from_bias(function, [-np.inf, 3.0, -np.inf], np.array([0]))
    assert log_probs == -np.inf
    assert entropy == 0
    assert not any(np.any(gradient) for gradient in jax.tree.leaves(gradients))


@both
@pytest.mark.parametrize("label", [0, 1])
def test_next_to_certainty_no_digit_is_lost(function, label):
    """Where 1 - p is less than an ulp of 1, for a label that is likely and one that is not."""
    log_probs, entropy, _, (slopes, _) = from_bias(function, [40.0, 0.0, -np.inf], np.array([label]))
    small = np.exp(-40.0)
    assert_close(log_probs, [-small if label == 0 else -40.0], 1e-6)
    assert_close(entropy, [41 * small], 1e-6)
    assert_close(slopes, np.array([-160, 160, 0]) * np.exp(-80.0), 1e-5)
    _, entropy, _, (slopes, _) = from_bias(function, [1e4, 1e4, -1e4], np.array([label]))
    assert_close(entropy, [np.log(2)], 1e-6)
    np.testing.assert_array_equal(slopes, 0)


@both
@pytest.mark.parametrize("label", [-1, CLASSES, 1000])
@pytest.mark.one_in(2)
def test_a_label_out_of_range_is_nan_in_values_and_gradient(function, label):
    arrays = [jnp.asarray(array, jnp.float32) for array in ARRAYS]
    labels = np.where(np.arange(24).reshape(TOKENS) == 5, label, LABELS)

    def outputs(pred):
        return function(pred, *arrays[1:], labels=labels)

    for which in (0, 1):
        values, gradient = outputs(arrays[0])[which], jax.grad(lambda p, w=which: outputs(p)[w].sum())(arrays[0])
        np.testing.assert_array_equal(np.isnan(values), labels != LABELS)
        np.testing.assert_array_equal(np.isnan(gradient).all(-1), labels != LABELS)
    with pytest.raises(checkify.JaxRuntimeError, match="`target` must hold class indices"):
        chex.chexify(jax.jit(outputs), async_check=False)(arrays[0])


@both
@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30])
@pytest.mark.one_in(2)
def test_what_is_hidden_is_0_with_gradient_0(function, garbage):
    arrays = [jnp.asarray(array, jnp.float32) for array in ARRAYS]
    keep = RNG.random(TOKENS) < 0.6
    hidden = jnp.where(keep[..., None], arrays[0], garbage)
    named = np.where(keep, LABELS, -100)
    # NaN features times no gradient make a NaN of a kernel that is not ours.
    ours = (0, 1, 2, 3, 4) if function is of_features else (0, 3, 4)

    def step(pred, **options):
        def total(*arrays):
            outputs = function(*arrays, **options)
            return sum(jnp.vdot(c, o) for c, o in zip(COTANGENTS, outputs, strict=True)), outputs

        return jax.value_and_grad(total, ours, has_aux=True)(pred, *arrays[1:])

    (_, outputs), gradients = step(hidden, labels=named, where=keep)
    assert not any(output[~keep].any() for output in outputs)
    assert not gradients[0][~keep].any()
    same = step(hidden, labels=named, ignore_index=-100)
    expected = step(arrays[0], labels=LABELS, where=keep)
    for found in (outputs, gradients), (same[0][1], same[1]):
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves((expected[0][1], expected[1])), strict=True):
            np.testing.assert_array_equal(one, other)
    nothing = step(hidden, where=np.zeros(TOKENS, bool))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(nothing))


@both
def test_half_precision_is_computed_in_float32(function):
    pred, kernel, bias = (jnp.asarray(array, jnp.bfloat16) for array in ARRAYS[:3])
    wide = [array.astype(jnp.float32) for array in (pred, kernel, bias)]
    if function is not of_features:  # The product alone is rounded.
        logits = (pred @ kernel + bias).astype(jnp.bfloat16)
        pred, kernel, bias = logits, jnp.eye(CLASSES, dtype=jnp.bfloat16), jnp.zeros(CLASSES, jnp.bfloat16)
        wide = [array.astype(jnp.float32) for array in (pred, kernel, bias)]

    def step(*arrays):
        def total(*arrays):
            outputs = function(*arrays, 0.7, 2.0)
            return sum(jnp.vdot(jnp.float32(c), o) for c, o in zip(COTANGENTS, outputs, strict=True)), outputs

        return jax.value_and_grad(total, (0, 1, 2), has_aux=True)(*arrays)

    (_, outputs), gradients = step(pred, kernel, bias)
    (_, expected), slopes = step(*wide)
    for ours, theirs in zip(outputs, expected, strict=True):
        assert ours.dtype == jnp.float32
        assert_close(ours, theirs, 1e-5)
    for ours, theirs in zip(gradients, slopes, strict=True):
        assert ours.dtype == jnp.bfloat16
        assert_close(np.asarray(ours, np.float32), theirs, 2**-6)


# Of the kernel: features, classes.
LAYOUTS = [(None, None), (None, "model"), ("data", None), ("data", "model")]


@pytest.mark.parametrize(("features", "classes"), LAYOUTS)
@pytest.mark.parametrize("kind", ["automatic", "explicit", "shard_map", "shard_map unchecked"])
@pytest.mark.one_in(3)
def test_a_layout_of_the_kernel_changes_no_number(kind, features, classes):
    axis_type = AxisType.Explicit if kind == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(axis_type,) * 2)
    names = {"feature_axis_name": features, "class_axis_name": classes}
    specs = P("data"), P(features, classes), P(classes), P(), P(), P("data")

    def function(*arrays):
        if kind == "explicit":
            return of_features(*arrays)
        if kind == "automatic":
            return of_features(*arrays, batch_spec=P("data"), **names)
        local = functools.partial(of_features, **names)
        check = kind == "shard_map"
        return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=(P("data"),) * 2, check_vma=check)(*arrays)

    with jax.enable_x64(True):
        expected = exact()
        with jax.set_mesh(mesh):
            *arrays, labels = (
                jax.device_put(jnp.asarray(array), NamedSharding(mesh, spec))
                for array, spec in zip((*ARRAYS, LABELS), specs, strict=True)
            )
            found = derived(function)(arrays, labels)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert_close(ours, theirs, 1e-12)


@pytest.mark.parametrize("check_vma", [True, False])
def test_logits_may_lie_on_a_mesh_by_classes(check_vma):
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    specs = P("data"), P(None, "model"), P("model"), P(), P(), P("data")
    local = functools.partial(of_logits, class_axis_name="model")
    on_mesh = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=(P("data"),) * 2, check_vma=check_vma)
    with jax.enable_x64(True):
        expected = exact()
        found = derived(on_mesh)([jnp.asarray(array) for array in ARRAYS], jnp.asarray(LABELS))
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert_close(ours, theirs, 1e-12)


@pytest.mark.parametrize("function", [of_logits, of_features])
def test_a_device_without_a_possible_class_changes_nothing(function):
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    bias = np.where(np.arange(CLASSES) < 4, BIAS, -np.inf)
    labels = LABELS % 5
    specs = P("data"), P(None, "model"), P("model"), P(), P(), P("data")
    local = functools.partial(function, class_axis_name="model")

    def step(function, *constants):
        def outputs(bias, temperature):
            return function(PRED, KERNEL, bias, temperature, None, *constants)

        def total(*arrays):
            # No gradient to a log-probability of -inf.
            log_probs, entropy = outputs(*arrays)
            return jnp.sum(jnp.where(labels < 4, log_probs, 0) + entropy)

        return jax.jit(lambda *arrays: (outputs(*arrays), jax.grad(total, (0, 1))(*arrays)))(bias, TEMPERATURE)

    on_mesh = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=(P("data"),) * 2)
    with jax.enable_x64(True):
        found, expected = step(on_mesh, labels), step(functools.partial(function, labels=labels))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_close(ours, theirs, 1e-12)
    assert np.isfinite(expected[1][0]).all()


def test_padding_among_the_classes_is_none():
    arrays = [jnp.asarray(array, jnp.float32) for array in ARRAYS]
    labels = LABELS % 14

    def gradients(kernel, bias, **more):
        def total(kernel, bias):
            outputs = of_features(arrays[0], kernel, bias, *arrays[3:], labels=labels, **more)
            return sum(jnp.vdot(c, o) for c, o in zip(COTANGENTS, outputs, strict=True))

        return jax.value_and_grad(total, (0, 1))(kernel, bias)

    padded = gradients(*arrays[1:3], num_classes=14)
    cut = gradients(arrays[1][:, :14], arrays[2][:14])
    for ours, theirs in zip(jax.tree.leaves(padded), jax.tree.leaves(cut), strict=True):
        assert_close(ours[..., :14] if ours.ndim else ours, theirs, 1e-5)
        assert not ours.ndim or not ours[..., 14:].any()
    of_padding = of_features(*arrays, labels=np.where(labels == 0, 15, labels), num_classes=14)
    for output in of_padding:
        np.testing.assert_array_equal(np.isnan(output), labels == 0)


# XLA:CPU of the jax before copied what a loop updates, and summed the gradient in float32.
BFLOAT16 = 0.1 if jax.__version_info__ >= (0, 11, 2) else 0.4


@pytest.mark.parametrize(("dtype", "share"), [("float32", 0.1), ("bfloat16", BFLOAT16)])
def test_no_logits_are_stored(dtype, share):
    inputs = [jax.ShapeDtypeStruct(shape, dtype) for shape in [(2048, 512), (512, 32768)]]
    labels = jax.ShapeDtypeStruct((2048,), jnp.int32)

    def memory(function):
        def loss(pred, kernel, labels):
            log_probs, entropy = function(pred, kernel, labels)
            return jnp.mean(jnp.exp(log_probs) - 0.01 * entropy)

        analysis = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*inputs, labels).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    def from_logits(pred, kernel, labels):
        return jaxloss.token_log_probs(pred @ kernel, labels, with_entropy=True)

    fused = functools.partial(jaxloss.linear_token_log_probs, with_entropy=True)
    assert memory(fused) <= share * memory(from_logits)


def test_wrong_calls_are_refused():
    logits, labels = np.zeros((3, 5), np.float32), np.zeros(3, np.int32)
    linear = functools.partial(jaxloss.linear_token_log_probs, logits)
    cases = [
        (lambda: jaxloss.token_log_probs(logits, logits), AssertionError, "`target` must hold integer"),
        (lambda: jaxloss.token_log_probs(labels, labels), AssertionError, "`pred` must be floating"),
        (lambda: jaxloss.token_log_probs(logits, labels, temperature=0), ValueError, "`temperature` must be greater"),
        (lambda: jaxloss.token_log_probs(logits, labels, logit_softcap=-1.0), ValueError, "`logit_softcap` must be"),
        (lambda: jaxloss.token_log_probs(logits, labels, axis=2), ValueError, "`axis` must be an axis"),
        (lambda: jaxloss.token_log_probs(logits, labels, class_axis_name="x"), ValueError, "`class_axis_name`"),
        (lambda: linear(logits, labels), AssertionError, "`kernel` must be floating, of shape .*transposed"),
        (lambda: linear(logits.T, labels, temperature=-1.0), ValueError, "`temperature` must be greater than 0"),
        (lambda: linear(logits.T, labels, chunk_size=0), ValueError, "`chunk_size` must be a positive"),
        (lambda: linear(logits.T, labels, num_classes=9), ValueError, "`num_classes` must be"),
        (lambda: linear(logits.T, labels, batch_spec=P("x")), ValueError, "`batch_spec`"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=f"token_log_probs: {message}"):
            cast(Any, call)()
    for function in (jaxloss.token_log_probs, functools.partial(linear, logits.T)):
        arrays = (logits, labels) if function is jaxloss.token_log_probs else (labels,)
        assert np.isnan(function(*arrays, temperature=jnp.float32(0))).all()
