from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxloss
from tests.support import OPTIMISED, assert_close

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, 16, 5)).astype(np.float32)
CENTER = RNG.normal(size=5).astype(np.float32)
KEEP = np.arange(16) % 3 != 1
KEEP[:4] = False


def test_twice_the_cosine_distance_is_the_loss_of_byol():
    """|| x / |x| - y / |y| ||^2, at any length of either."""
    x, y = STUDENT, 1e20 * TEACHER
    units = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (np.float64(x), np.float64(y))]
    byol = np.square(units[0] - units[1]).sum(-1)
    assert_close(2 * jaxloss.cosine_distance(x, y, reduction="none"), byol, 1e-6)


@pytest.mark.parametrize("pair", [(np.zeros(3), np.ones(3)), (np.ones(3), np.zeros(3)), (np.zeros(3), np.zeros(3))])
def test_a_zero_vector_has_a_distance_of_1_and_no_gradient(pair):
    value, gradients = jax.value_and_grad(jaxloss.cosine_distance, (0, 1))(*map(jnp.float32, pair))
    assert value == 1
    assert all((gradient == 0).all() for gradient in gradients)


def test_only_the_student_of_dino_has_a_gradient():
    gradients = jax.grad(jaxloss.dino_loss, (0, 1, 2))(STUDENT, TEACHER, CENTER)
    assert [bool(gradient.any()) for gradient in gradients] == [True, False, False]


def test_what_the_centre_and_every_logit_have_in_common_means_nothing():
    value = jaxloss.dino_loss(STUDENT, TEACHER, CENTER)
    assert_close(jaxloss.dino_loss(STUDENT + 3, TEACHER - 2, CENTER + 1), value, 1e-5)
    assert_close(jaxloss.dino_loss(STUDENT, TEACHER - CENTER, 0 * CENTER), value, 1e-5)


def test_the_centre_of_dino_moves_to_the_mean_of_what_is_kept():
    mean = TEACHER[KEEP].mean(0)
    spoilt = np.where(KEEP[:, None], TEACHER, np.nan)
    assert_close(jaxloss.dino_center(spoilt, CENTER, where=KEEP), 0.9 * CENTER + 0.1 * mean, 1e-6)
    assert_close(jaxloss.dino_center(spoilt, CENTER, momentum=0.0, where=KEEP), mean, 1e-6)
    assert_close(jaxloss.dino_center(TEACHER.reshape(4, 4, 5), CENTER, momentum=0.0), TEACHER.mean(0), 1e-6)
    assert_close(jaxloss.dino_center(spoilt, CENTER, where=~KEEP & False), CENTER, 0.0)
    assert_close(jaxloss.dino_center(TEACHER[:0], CENTER), CENTER, 0.0)
    assert not jax.grad(lambda target: jaxloss.dino_center(target, CENTER).sum())(TEACHER).any()
    assert np.isnan(jaxloss.dino_center(TEACHER, CENTER, momentum=jnp.float32(2))).all()


BATCH_LOSSES = [jaxloss.vicreg_loss, jaxloss.barlow_twins_loss]


PAIR_LOSSES = [jaxloss.koleo_loss, jaxloss.uniformity_loss]


@pytest.mark.parametrize("loss", BATCH_LOSSES + PAIR_LOSSES)
@pytest.mark.parametrize("inside", [True, False])
def test_a_batch_may_lie_on_several_devices(loss, inside):
    """In value and gradient, taken inside `shard_map` and outside of it; a device keeps nothing."""
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4], axis_types=(AxisType.Auto,))
    arrays, where = (STUDENT, STUDENT + TEACHER), KEEP
    arrays = arrays if loss in BATCH_LOSSES else arrays[:1]
    positions = tuple(range(len(arrays)))

    def local(where, *arrays):
        return loss(*arrays, axis_name="data", where=where)

    wanted, specs = tuple(place + 1 for place in positions), (P("data"),) * (1 + len(arrays))
    step = jax.value_and_grad(local, wanted)
    if inside:
        step = jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=(P(), specs[1:]))
    else:
        on_mesh = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)
        step = jax.value_and_grad(on_mesh, wanted)
    value, gradients = jax.jit(step)(where, *arrays)
    expected, there = jax.value_and_grad(loss, positions)(*(array[where] for array in arrays))
    assert_close(value, expected, 1e-5)
    for gradient, other in zip(gradients, there, strict=True):
        assert_close(gradient[where], other, 1e-5)
        assert not gradient[~where].any()


@pytest.mark.parametrize("loss", BATCH_LOSSES)
def test_a_batch_has_one_loss_whatever_the_reduction(loss):
    values = [loss(STUDENT, TEACHER, reduction=reduction) for reduction in ("mean", "sum", "none")]
    assert values[0] == values[1] == values[2]
    assert loss(STUDENT, TEACHER, sample_weight=2.0, reduction="sum") == 2 * values[0]
    assert loss(STUDENT, TEACHER, sample_weight=0.0) == 0


@pytest.mark.parametrize("loss", BATCH_LOSSES)
def test_the_order_of_rows_features_and_views_means_nothing(loss):
    value = loss(STUDENT, TEACHER)
    assert_close(loss(STUDENT[::-1], TEACHER[::-1]), value, 1e-5)
    assert_close(loss(STUDENT[:, ::-1], TEACHER[:, ::-1]), value, 1e-5)
    assert_close(loss(TEACHER, STUDENT), value, 1e-5)


def test_barlow_twins_does_not_depend_on_the_scale_and_the_mean_of_a_feature():
    scales, means = (
        np.array([1e15, 1e3, 1.0, 10.0, 1e18], np.float32),
        np.array([0.0, 10.0, 0.0, -3.0, 0.0], np.float32),
    )
    value, gradient = jax.value_and_grad(jaxloss.barlow_twins_loss)(STUDENT, TEACHER)
    there, scaled = jax.value_and_grad(jaxloss.barlow_twins_loss)(STUDENT * scales + means, TEACHER)
    assert_close(there, value, 1e-4)
    assert_close(scaled * scales, gradient, 1e-3)


@pytest.mark.parametrize("loss", PAIR_LOSSES)
def test_rows_are_of_any_length_and_in_any_order(loss):
    lengths = np.exp2(RNG.integers(-40, 40, (16, 1))).astype(np.float32)
    value = loss(STUDENT)
    assert_close(loss(STUDENT * lengths), value, 1e-5)
    assert_close(loss(STUDENT[::-1]), value, 1e-5)


def test_the_nearest_row_is_found_in_any_block():
    """Of several blocks, the last of which begins with rows of the one before it."""
    rows = RNG.normal(size=(700, 3)).astype(np.float32)
    units = np.float64(rows) / np.linalg.norm(np.float64(rows), axis=-1, keepdims=True)
    far = np.linalg.norm(units[:, None] - units, axis=-1) + np.diag(np.full(700, 9))
    assert_close(jaxloss.koleo_loss(rows), -np.log(far.min(-1)).mean(), 1e-4)


@pytest.mark.parametrize("loss", PAIR_LOSSES)
def test_no_matrix_of_all_pairs_is_held(loss):
    """In value and gradient."""
    rows = 8192
    shape = jax.ShapeDtypeStruct((rows, 32), jnp.float32)
    step = jax.jit(jax.value_and_grad(loss)).lower(shape).compile(OPTIMISED)
    assert cast(Any, step.memory_analysis()).temp_size_in_bytes < 0.1 * 4 * rows**2


@pytest.mark.parametrize("check_vma", [True, False])
def test_the_centre_of_dino_is_that_of_all_devices(check_vma):
    """The first of them keeps nothing."""
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4], axis_types=(AxisType.Auto,))
    specs = P("data"), P(), P("data")

    def local(target, center, where):
        return jaxloss.dino_center(target, center, axis_name="data", where=where)

    call = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=check_vma)
    assert_close(call(TEACHER, CENTER, KEEP), jaxloss.dino_center(TEACHER, CENTER, where=KEEP), 1e-6)


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((TEACHER, CENTER[None]), {}, AssertionError, "`center` must be floating, of shape \\(5,\\)"),
        ((TEACHER.astype(int), CENTER), {}, AssertionError, "`target` must be floating"),
        ((TEACHER, CENTER), {"momentum": 1.5}, ValueError, "`momentum` must be in \\[0, 1\\]"),
        ((TEACHER, CENTER), {"where": KEEP[:3]}, AssertionError, "`where` must be boolean and broadcast to \\(16,\\)"),
        ((TEACHER, CENTER), {"axis_name": "data"}, ValueError, "`axis_name` must name axes of the mesh"),
    ],
)
def test_wrong_calls_of_the_centre_are_refused(args, options, error, message):
    with pytest.raises(error, match=f"dino_center: {message}"):
        jaxloss.dino_center(*args, **options)
