"""On eight virtual devices, which `conftest.py` asks XLA for."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxloss
from tests.support import FAMILIES, ONE_A_FAMILY, REPRESENTATIVES, THOROUGH, assert_close, values_and_gradients

BATCH = (16, 4)
# All but classes and items of lists on the axis that is sharded, and weights for a batch of another shape.
SHARDABLE = [
    case
    for case in FAMILIES
    if case.fits(BATCH) and not ((case.record.class_axis or case.record.sets) and case.options.get("axis") == 0)
]
EXPLICIT, AUTO = jax.sharding.AxisType.Explicit, jax.sharding.AxisType.Auto
MESHES = [(case, AUTO) for case in ONE_A_FAMILY] + [(case, EXPLICIT) for case in SHARDABLE if THOROUGH]
every_record = pytest.mark.parametrize("case", REPRESENTATIVES, ids=[case.record.name for case in REPRESENTATIVES])


def make_mesh(axis_type):
    assert jax.device_count() == 8
    return jax.make_mesh((8,), ("data",), axis_types=(axis_type,))


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.sharding.AxisType.Auto)


def unequal(case):
    """A mask that keeps more on some devices than on others, and nothing on one."""
    where = case.mask(batch=BATCH)
    part = len(where) // 8
    where[:part], where[part : 2 * part] = False, True
    return where


def weights(case):
    """A weight for each loss that is left to be reduced: some 0, and all on one device."""
    rng, shape = np.random.default_rng(200), case.oracle(case.draw(batch=BATCH), "none").shape
    drawn = np.where(rng.random(size=shape) < 0.7, 0.5 + rng.random(size=shape), 0)
    if not drawn.ndim:  # A batch has one loss.
        return drawn
    part = drawn.shape[-1 if case.record.rows else 0] // 8
    at = (..., slice(2 * part, 3 * part)) if case.record.rows else slice(2 * part, 3 * part)
    drawn[at] = 0
    return drawn


def spec_of_losses(case, losses):
    """Of two views of each row, the second axis is that of the rows; of a batch there may be one loss."""
    if not losses.ndim:
        return P()
    return P(*[None] * (losses.ndim - 1), "data") if case.record.rows else P("data")


def specs(case):
    return [P() if position in case.record.shared else P("data") for position in range(len(case.record.arrays))]


def masked(case):
    """A mask, and arrays with garbage under it."""
    where = unequal(case)
    return where, [jnp.asarray(array) for array in case.with_garbage(case.draw(batch=BATCH), where, np.float64)]


def on_devices(case, mesh):
    where, arrays = masked(case)
    placed = zip([where, *arrays], [P("data"), *specs(case)], strict=True)
    return [jax.device_put(array, NamedSharding(mesh, spec)) for array, spec in placed]


def assert_as_the_oracle(case, values, gradients):
    """Each value, and the gradient along a direction at random."""
    rng, where, clean = np.random.default_rng(1), unequal(case), case.draw(batch=BATCH)
    for name, value in values.items():
        assert_close(value, case.oracle(clean, name, where), 1e-10)
    along = {position: rng.normal(size=clean[position].shape) for position in case.record.differentiable}
    slope = sum(np.vdot(gradient, along[i]) for i, gradient in zip(along, gradients, strict=True))
    np.testing.assert_allclose(slope, float(case.oracle_slope(clean, along, where)), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("case", "axis_type"), MESHES, ids=[f"{case.name}-{kind}" for case, kind in MESHES])
def test_jit_on_sharded_arrays_agrees_with_the_oracle(case, axis_type):
    mesh = make_mesh(axis_type)
    with jax.enable_x64(True), jax.set_mesh(mesh):
        where, *sharded = on_devices(case, mesh)
        values, gradients = values_and_gradients(case, sharded, where)
        assert_as_the_oracle(case, values, gradients)
        assert gradients[0].sharding.is_equivalent_to(sharded[0].sharding, sharded[0].ndim)


@every_record
def test_on_an_explicit_mesh_it_traces_and_the_gradient_is_sharded_as_the_input(case):
    """Most of what may go wrong there does so while tracing."""
    mesh = make_mesh(EXPLICIT)
    with jax.enable_x64(True), jax.set_mesh(mesh):
        where, *sharded = on_devices(case, mesh)
        step = jax.grad(lambda *arrays: case.loss()(*arrays, where=where))
        assert jax.eval_shape(step, *sharded).sharding == jax.typeof(sharded[0]).sharding


INSIDE = [(case, True) for case in FAMILIES] + [(case, False) for case in ONE_A_FAMILY if THOROUGH]


@pytest.mark.parametrize(("case", "check_vma"), INSIDE, ids=lambda value: getattr(value, "name", value))
def test_masked_and_weighted_means_inside_shard_map_agree_with_the_oracle(case, mesh, check_vma):
    if case.record.in_a_shard is not None:  # A set must lie on one device.
        case = dataclasses.replace(case, options=case.record.in_a_shard)
    with jax.enable_x64(True):
        (where, arrays), given, default = masked(case), weights(case), case.record.default_reduction
        names = {"mean", "sum", default}

        def local(where, given, *arrays):
            on_axis = {name: functools.partial(getattr(jaxloss.reductions, name), axis_name="data") for name in names}
            loss = case.loss()
            if case.record.rows:  # Which adds up over the mesh by itself.
                loss, on_axis = case.loss(axis_name="data"), {name: name for name in names}
            values = {name: loss(*arrays, where=where, reduction=on_axis[name]) for name in names}
            return values, loss(*arrays, where=where, sample_weight=given, reduction=on_axis[default])

        in_specs = P("data"), spec_of_losses(case, given), *specs(case)
        on_mesh = jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=P(), check_vma=check_vma)

        def loss(*arrays):
            values, weighted = on_mesh(where, given, *arrays)
            return values[default], (values, weighted)

        step = jax.jit(jax.value_and_grad(loss, case.record.differentiable, has_aux=True))
        (_, (values, weighted)), gradients = step(*arrays)
        assert_as_the_oracle(case, values, gradients)
        expected = case.oracle(case.draw(batch=BATCH), default, where, sample_weight=given)
        assert_close(weighted, expected, 1e-10)


def test_a_training_step_inside_shard_map_has_the_gradient_of_one_device(mesh):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(32, 5)).astype(np.float32), rng.integers(0, 3, size=32)
    labels[rng.random(32) < 0.4] = -1
    labels[:4] = -1
    kernel = rng.normal(size=(5, 3)).astype(np.float32)

    def loss(kernel, features, labels, reduction):
        return jaxloss.cross_entropy(features @ kernel, labels, ignore_index=-1, reduction=reduction)

    global_mean = functools.partial(jaxloss.reductions.mean, axis_name="data")
    step = jax.shard_map(
        lambda kernel, features, labels: jax.value_and_grad(loss)(kernel, features, labels, global_mean),
        mesh=mesh,
        in_specs=(P(), P("data"), P("data")),
        out_specs=P(),
    )
    value, gradient = jax.jit(step)(kernel, features, labels)
    expected_value, expected_gradient = jax.value_and_grad(loss)(kernel, features, labels, "mean")
    assert_close(value, expected_value, 1e-6)
    assert_close(gradient, expected_gradient, 1e-6)

    mean_of_means = jax.shard_map(
        lambda features, labels: jax.lax.pmean(loss(kernel, features, labels, "mean"), "data"),
        mesh=mesh,
        in_specs=(P("data"), P("data")),
        out_specs=P(),
    )
    assert abs(jax.jit(mean_of_means)(features, labels) - expected_value) > 1e-3


@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_blocks_of_tokens_move_no_features_and_add_the_kernels_gradient_once(axis_type, reduction):
    mesh = make_mesh(axis_type)
    shapes = [((64, 16, 32), jnp.float32, P("data")), ((32, 256), jnp.float32, P()), ((64, 16), jnp.int32, P("data"))]
    inputs = [jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec)) for shape, dtype, spec in shapes]

    def loss(features, kernel, labels):
        options = {"chunk_size": 10, "reduction": reduction}
        return jaxloss.linear_cross_entropy(features, kernel, labels, **options).mean()

    compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*inputs).compile().as_text()
    assert compiled is not None
    for moves in ("all-gather", "all-to-all", "collective-permute"):
        assert moves not in compiled
    assert len(re.findall(r" all-reduce(-start)?\(", compiled)) == 1


@functools.cache
def step_of_a_layer(options):
    def step(labels, weight, *arrays):
        def loss(features, kernel, bias):
            more = {"weight": weight, "label_smoothing": 0.1} | dict(options)
            return jaxloss.linear_cross_entropy(features, kernel, labels, bias=bias, **more).sum()

        return jax.value_and_grad(loss, (0, 1, 2))(*arrays)

    return jax.jit(step)


@pytest.mark.one_in(1)
@pytest.mark.parametrize(
    ("pred", "kernel"),
    [
        (P("data"), P("data", None)),
        (P("data"), P("model", None)),
        (P("data"), P("data", "model")),
        (P("data"), P("model", "data")),
        (P(("data", "model")), P("model", "data")),
        (P(None, "data"), P("data", None)),
        (P("data", None, "model"), P("model", None)),
        (P(None, None, "model"), P("model", "data")),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("float32", {"chunk_size": 3}),
        ("float32", {}),
        ("bfloat16", {"chunk_size": 3}),
        ("float32", {"chunk_size": 3, "reduction": "none"}),
    ][: None if THOROUGH else 1],
)
def test_an_explicit_mesh_may_shard_a_kernel_anyhow(pred, kernel, dtype, options):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.normal(size=shape), dtype) for shape in ((16, 4, 8), (8, 16), (16,))]
    labels = rng.integers(0, 16, size=(16, 4))
    weight = np.linspace(0.5, 2, 16, dtype=np.float32)
    given, step = [labels, weight, *arrays], step_of_a_layer(tuple(options.items()))
    expected = step(*given)
    with jax.set_mesh(mesh):
        classes = P(kernel[1])
        specs = P(*pred[:2]), classes, pred, kernel, classes
        sharded = [jax.device_put(a, NamedSharding(mesh, spec)) for a, spec in zip(given, specs, strict=True)]
        value, gradients = step(*sharded)
    tolerance = 1e-5 if dtype == "float32" else 2**-7
    assert_close(value, expected[0], tolerance)
    for gradient, exact, array in zip(gradients, expected[1], sharded[2:], strict=True):
        assert_close(gradient.astype(jnp.float32), exact.astype(jnp.float32), tolerance)
        assert gradient.sharding.is_equivalent_to(array.sharding, array.ndim)


@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_blocks_of_tokens_report_bad_labels(axis_type, reduction):
    mesh = make_mesh(axis_type)
    with jax.set_mesh(mesh):
        features, good, bad = (
            jax.device_put(array, NamedSharding(mesh, P("data")))
            for array in (jnp.ones((64, 4)), jnp.full(64, 3), jnp.full(64, 5))
        )

        def step(kernel, labels):
            def loss(kernel):
                options = {"chunk_size": 2, "reduction": reduction}
                return jaxloss.linear_cross_entropy(features, kernel, labels, **options).sum()

            return jax.value_and_grad(loss)(kernel)

        checked = jax.jit(checkify.checkify(step))
        checked(jnp.ones((4, 5)), good)[0].throw()
        with pytest.raises(checkify.JaxRuntimeError, match="linear_cross_entropy: `target` must hold class indices"):
            checked(jnp.ones((4, 5)), bad)[0].throw()


def test_bad_values_are_reported_from_a_sharded_step(mesh):
    logits = jax.device_put(jnp.zeros((16, 3)), NamedSharding(mesh, P("data")))
    labels = jax.device_put(jnp.full(16, 3), NamedSharding(mesh, P("data")))
    error, _ = jax.jit(checkify.checkify(jax.value_and_grad(jaxloss.cross_entropy)))(logits, labels)
    with pytest.raises(checkify.JaxRuntimeError, match="cross_entropy: `target` must hold class indices"):
        error.throw()
