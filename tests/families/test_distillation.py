"""What is particular to the losses of distillation."""

import functools
import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxloss
from tests.support import THOROUGH

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, 3, 5)).astype(np.float32)


def jsd(beta, student=STUDENT, teacher=TEACHER, **options):
    return jaxloss.generalized_jsd_loss(student, teacher, beta=beta, **options)


def test_an_end_is_the_slope_of_what_vanishes_there():
    with jax.enable_x64(True):
        for end, near in ((0, 1e-7), (1, 1 - 1e-7)):
            args = STUDENT.astype(float), TEACHER.astype(float)
            np.testing.assert_allclose(jsd(near, *args) / 1e-7, jsd(end, *args), rtol=1e-5)


def test_the_ends_are_the_two_divergences_and_no_traced_number():
    log_s, log_t = jax.nn.log_softmax(STUDENT), jax.nn.log_softmax(TEACHER)
    np.testing.assert_allclose(jsd(0), jaxloss.kl_div(log_s, jnp.exp(log_t)), rtol=1e-5)
    np.testing.assert_allclose(jsd(1.0), jaxloss.kl_div(log_t, jnp.exp(log_s)), rtol=1e-5)
    traced = jax.jit(jax.value_and_grad(jsd, 1))
    for end in (0.0, 1.0):
        assert all(np.isnan(each).all() for each in jax.tree.leaves(traced(end, STUDENT)))
        with pytest.raises(Exception, match=r"`beta` must be in \[0, 1\], and strictly between"):
            chex.chexify(jax.jit(jsd), async_check=False)(jnp.float32(end))


def test_a_traced_beta_and_its_derivative():
    with jax.enable_x64(True):
        loss = jax.jit(jax.value_and_grad(lambda beta: jsd(beta, STUDENT.astype(float), TEACHER.astype(float))))
        value, slope = loss(0.3)
        np.testing.assert_allclose(value, jsd(0.3, STUDENT.astype(float), TEACHER.astype(float)), rtol=1e-12)
        np.testing.assert_allclose(slope, (loss(0.3 + 1e-5)[0] - loss(0.3 - 1e-5)[0]) / 2e-5, rtol=1e-7)


def test_a_student_that_knows_all_has_no_loss_and_a_small_distance_keeps_its_digits():
    """The log-probabilities of the mixture, subtracted, leave no digit of 1e-9; and some are negative."""
    assert jsd(0.5, STUDENT, STUDENT) == 0
    assert not np.any(jax.grad(jsd, 1)(0.3, STUDENT, STUDENT))
    teacher = STUDENT + np.float32(2**-12) * TEACHER
    log_s, log_t = (
        logits - np.logaddexp.reduce(logits, -1, keepdims=True) for logits in np.asarray([STUDENT, teacher], float)
    )
    p, distance = np.exp(log_s), log_t - log_s
    mixture = np.log1p(0.5 * np.expm1(distance))
    exact = 0.5 * (p * (np.exp(distance) * (distance - mixture) - mixture)).sum(-1)
    np.testing.assert_allclose(jsd(0.5, STUDENT, teacher, reduction="none"), exact, rtol=5e-3)
    assert exact.max() < 1e-7


@pytest.mark.parametrize("beta", [0.0, 0.2, 1.0])
def test_a_small_curvature_is_that_of_the_fisher_information(beta):
    """Where the two agree, which is a kink of the absolute distance and none of the loss."""
    weight = beta * (1 - beta) or 1.0
    p = jax.nn.softmax(STUDENT[0])
    fisher = weight * (jnp.diag(p) - jnp.outer(p, p))
    loss = functools.partial(jaxloss.generalized_jsd_loss, beta=beta)
    for position in (0, 1):
        np.testing.assert_allclose(jax.hessian(loss, position)(STUDENT[0], STUDENT[0]), fisher, atol=1e-6)


def test_what_the_teacher_alone_can_choose_is_infinite_at_an_end_only():
    student, teacher = jnp.array([0.0, -jnp.inf]), jnp.array([0.0, 0.0])
    assert jsd(0, student, teacher) == jnp.inf
    np.testing.assert_allclose(jsd(1, student, teacher), math.log(2), rtol=1e-6)
    for beta in (0.01, 0.5, 0.99):
        assert np.isfinite(jsd(beta, student, teacher))
        first, second = jax.jit(jax.grad(functools.partial(jsd, beta), (0, 1)))(student, teacher)
        assert np.isfinite(first).all()
        assert np.isfinite(second).all()
        assert np.isfinite(jax.hessian(functools.partial(jsd, beta))(student, teacher)).all()


def test_a_temperature_shrinks_the_gradient_by_its_square():
    gradients = [
        temperature**2 * jax.grad(jsd, 1)(0.5, STUDENT, TEACHER, temperature=temperature) for temperature in (1e2, 1e3)
    ]
    np.testing.assert_allclose(*gradients, rtol=0.05)


# Features, kernel and bias, of a student and of a teacher with features of its own.
TOKENS, CLASSES = (8, 3), 12
LAYERS = [RNG.normal(size=shape) for width in (4, 8) for shape in ((*TOKENS, width), (width, CLASSES), (CLASSES,))]
NUMBERS = {"beta": 0.3, "temperature": 1.4}


def by_layers(numbers, features, kernel, bias, target, target_kernel, target_bias, **options):
    """Blocks of five classes, the last of which begins with some of the one before it."""
    arrays = features, kernel, target, target_kernel
    options = {"bias": bias, "target_bias": target_bias, "chunk_size": 8} | numbers | options
    return jaxloss.linear_generalized_jsd_loss(*arrays, **options)


def by_logits(numbers, features, kernel, bias, target, target_kernel, target_bias, **options):
    student, teacher = features @ kernel + bias, target @ target_kernel + target_bias
    return jaxloss.generalized_jsd_loss(student, teacher, **numbers, **options)


def first_order(loss, numbers, *layers):
    """The gradient of the sum of the squares of the losses, and these."""

    def squares(numbers, *layers):
        losses = loss(numbers, *layers, reduction="none")
        return (losses**2).sum(), losses

    return jax.grad(squares, tuple(range(len(layers) + 1)), has_aux=True)(numbers, *layers)


def second_order(loss, *arrays):
    """Of the gradient along a direction the gradient."""

    def slope(*arrays):
        return sum((jnp.cos(7 * each) * each).sum() for each in jax.tree.leaves(first_order(loss, *arrays)[0]))

    return jax.grad(slope, tuple(range(len(arrays))))(*arrays)


def traced(beta, loss):
    """A Python number is no array; the others are."""
    if beta is None:
        return loss, NUMBERS
    return functools.partial(loss, beta=beta), {"temperature": NUMBERS["temperature"]}


@functools.cache
def expected(derivatives, beta=None):
    """By stored logits."""
    loss, numbers = traced(beta, by_logits)
    with jax.enable_x64(True):
        return jax.jit(functools.partial(derivatives, loss))(numbers, *LAYERS)


def assert_all_close(found, wanted):
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11), found, wanted)


@pytest.mark.parametrize("beta", [None, 0.0, 1.0])
def test_layers_have_the_loss_of_their_logits_and_its_gradient(beta):
    loss, numbers = traced(beta, by_layers)
    with jax.enable_x64(True):
        found = jax.jit(functools.partial(first_order, loss))(numbers, *LAYERS)
        assert_all_close(found, expected(first_order, beta))


# Of tokens, and of the classes, on four devices along "data" and two along "model".
BY_CLASSES = [P("data"), P(None, "model"), P("model")] * 2


@pytest.mark.parametrize(
    ("check_vma", "derivatives"), [(True, first_order), (False, second_order if THOROUGH else first_order)]
)
def test_classes_of_both_layers_lie_on_a_mesh(check_vma, derivatives):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def on_mesh(numbers, *layers, reduction):
        local = functools.partial(by_layers, reduction=reduction, class_axis_name="model")
        in_specs = (P(), *BY_CLASSES)
        return jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=P("data"), check_vma=check_vma)(
            numbers, *layers
        )

    with jax.enable_x64(True):
        assert_all_close(jax.jit(functools.partial(derivatives, on_mesh))(NUMBERS, *LAYERS), expected(derivatives))


@pytest.mark.parametrize(
    ("axis_type", "specs", "derivatives"),
    [
        (jax.sharding.AxisType.Explicit, BY_CLASSES, second_order if THOROUGH else first_order),
        (jax.sharding.AxisType.Explicit, [P("data"), P("data", "model"), P()] * 2, first_order),
        (jax.sharding.AxisType.Auto, [P("data"), P(), P()] * 2, first_order),
    ],
    ids=["explicit, classes", "explicit, features and classes", "automatic"],
)
def test_layers_on_a_mesh_have_the_loss_and_the_derivatives_of_one_device(axis_type, specs, derivatives):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(axis_type,) * 2)
    with jax.enable_x64(True), jax.set_mesh(mesh):
        layers = [
            jax.device_put(array, jax.sharding.NamedSharding(mesh, spec))
            for array, spec in zip(LAYERS, specs, strict=True)
        ]
        assert_all_close(jax.jit(functools.partial(derivatives, by_layers))(NUMBERS, *layers), expected(derivatives))


@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit], ids=str)
def test_the_devices_add_up_the_gradient_of_a_kernel_once(axis_type):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    shapes = [((64, 4, 32), P("data")), ((32, 256), P())] * 2
    inputs = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=jax.sharding.NamedSharding(mesh, spec))
        for shape, spec in shapes
    ]
    step = jax.jit(jax.value_and_grad(functools.partial(jaxloss.linear_generalized_jsd_loss, chunk_size=64), (0, 1)))
    compiled = str(step.lower(*inputs).compile().as_text())
    for moves in ("all-gather", "all-to-all", "collective-permute"):
        assert moves not in compiled
    assert len(re.findall(r" all-reduce(-start)?\(", compiled)) <= 2


def test_no_logits_are_stored():
    tokens, classes = 256, 4096
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((tokens, 8), (8, classes), (tokens, 4), (4, classes))
    ]
    loss = functools.partial(jaxloss.linear_generalized_jsd_loss, chunk_size=8)
    memory = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*shapes).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 4 * tokens * classes


def test_a_teacher_that_does_not_learn_costs_no_product():
    shapes = [jax.ShapeDtypeStruct(array.shape, jnp.float32) for array in LAYERS]
    step = jax.jit(jax.grad(functools.partial(by_layers, NUMBERS), (0, 1)))
    assert str(step.lower(*shapes).compile().as_text()).count(" dot(") == 8


def test_features_that_are_hidden_reach_no_gradient_whatever_they_and_the_biases_are():
    where = np.ones(TOKENS, bool)
    where[1, 2] = where[4] = False
    features, kernel, bias, target, target_kernel, target_bias = (array.astype(np.float32) for array in LAYERS)
    bias[0] = target_bias[1] = -np.inf  # At an end the loss of a hidden token is infinite.
    features[~where], target[~where] = np.nan, np.inf
    loss = functools.partial(by_layers, {"beta": 0.0}, where=where, reduction="sum")
    student = jnp.asarray(bias).at[0].set(0.0)
    gradients = jax.jit(jax.grad(loss, (0, 1, 2, 3, 4, 5)))(
        features, kernel, student, target, target_kernel, target_bias
    )
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert not np.any(gradients[0][~where])
    assert not np.any(gradients[3][~where])
