import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxloss
from jaxloss._kernels.pairwise import layout
from tests.support import DISTINCT, FIRST, OPTIMISED, assert_close

ROWS = [case for case in FIRST if case.record.rows and case.record.loss.__module__ == "jaxloss.contrastive"]
every_loss = pytest.mark.parametrize("case", ROWS, ids=[case.record.name for case in ROWS])
KERNELS = [case for case in ROWS if case in DISTINCT]
every_kernel = pytest.mark.parametrize("case", KERNELS, ids=[case.record.name for case in KERNELS])
RNG = np.random.default_rng(0)
X, NOISE = RNG.normal(size=(2, 16, 4))
Y, LABELS = 2 * X + NOISE, RNG.integers(0, 3, 16)
KEEP = np.arange(16) % 4 != 1
KEEP[:2], KEEP[2:4] = False, True
E1 = math.exp(1)


def mesh_of(devices, kind=AxisType.Auto):
    return jax.make_mesh((devices,), ("data",), devices=jax.devices()[:devices], axis_types=(kind,))


def arrays_of(case):
    return (X, Y) if case.record.arrays[1] == "target" and case.record.inner[1] else (X, LABELS)


def loss_of(case, **options):
    """The loss of rows, of every option that may be traced, and of what is not differentiated."""
    names = case.record.traced

    def loss(rows, numbers, others, where, weights):
        given = dict(zip(names, numbers, strict=True)) | options
        return case.record.loss(*rows, *others, where=where, sample_weight=weights, **given)

    return loss


def step_of(case, **options):
    return jax.value_and_grad(loss_of(case, **options), (0, 1))


def parts_of(case):
    """Rows, numbers, and what is not differentiated."""
    rows = tuple(array for array in arrays_of(case) if array.dtype.kind == "f")
    parameters = {"temperature": 0.3, "logit_bias": -1.0, "alpha": 2.0, "beta": 5.0, "base": 0.2, "gamma": 4.0}
    numbers = tuple(np.float64({"margin": 0.4, **parameters}[name]) for name in case.record.traced)
    others = tuple(array for array in arrays_of(case) if array.dtype.kind != "f")
    return rows, numbers, others


@functools.cache
def expected(case):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(step_of(case))(*parts_of(case), KEEP, weights_of(case)))


def weights_of(case):
    weights = np.linspace(0.5, 2, 16)
    weights[4:6] = 0
    return weights


def assert_same(found, case):
    jax.tree.map(lambda one, other: assert_close(one, other, 1e-11), found, expected(case))


@every_loss
@pytest.mark.parametrize("chunk_size", [1, 5, 16, 99])
@pytest.mark.one_in(2)
def test_blocks_of_any_size_give_the_same(case, chunk_size):
    with jax.enable_x64(True):
        found = jax.jit(step_of(case, chunk_size=chunk_size))(*parts_of(case), KEEP, weights_of(case))
        assert_same(found, case)


@every_loss
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.one_in(4)
def test_in_shard_map_it_is_the_loss_of_one_device_and_so_are_its_gradients(case, devices, inside, monkeypatch):
    """Masks differ from device to device, and one has nothing kept; the gradient is taken outside and inside.

    On eight devices the rows are gathered block by block, as large batches are.
    """
    if devices == 8:
        monkeypatch.setattr(layout, "GATHERED_AT_ONCE", 0)
    mesh = mesh_of(devices)
    rows, numbers, others = parts_of(case)
    on_rows = lambda arrays: (P("data"),) * len(arrays)  # noqa: E731
    given = rows, numbers, others, KEEP, weights_of(case)
    in_specs = on_rows(rows), (P(),) * len(numbers), on_rows(others), P("data"), P("data")

    options = {"axis_name": "data", "chunk_size": 3}
    if inside:
        out_specs = P(), (on_rows(rows), in_specs[1])
        step = jax.shard_map(step_of(case, **options), mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    else:
        loss = loss_of(case, **options)
        on_mesh = jax.shard_map(loss, mesh=mesh, in_specs=in_specs, out_specs=P(), check_vma=devices != 2)
        step = jax.value_and_grad(on_mesh, (0, 1))
    with jax.enable_x64(True):
        assert_same(jax.jit(step)(*given), case)


@every_loss
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_under_jit_a_sharded_batch_gives_the_same(case, kind):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind,) * 2)
    rows, numbers, others = parts_of(case)
    with jax.enable_x64(True), jax.set_mesh(mesh):
        put = lambda array, spec: jax.device_put(array, NamedSharding(mesh, spec))  # noqa: E731
        lying = tuple(put(each, P("data", "model")) for each in rows)
        *others, where, weights = (put(each, P("data")) for each in (*others, KEEP, weights_of(case)))
        found = jax.jit(step_of(case, chunk_size=3))(lying, numbers, tuple(others), where, weights)
        assert_same(found, case)
        for gradient, array in zip(found[1][0], lying, strict=True):
            assert gradient.sharding.is_equivalent_to(array.sharding, array.ndim)


@every_kernel
def test_what_is_masked_is_deleted(case):
    """Garbage under the mask included, in value and gradient."""
    (x, *more), numbers, others = parts_of(case)
    hidden = tuple(np.where(KEEP[:, None], each, np.nan) for each in (x, *more))
    kept = tuple(each[KEEP] for each in (x, *more)), numbers, tuple(each[KEEP] for each in others)
    with jax.enable_x64(True):
        value, (gradients, slopes) = jax.jit(step_of(case))(hidden, numbers, others, KEEP, None)
        alone = jax.jit(step_of(case))(*kept, None, None)
    assert_close(value, alone[0], 1e-12)
    jax.tree.map(lambda one, other: assert_close(one, other, 1e-10), slopes, alone[1][1])
    for gradient, other in zip(gradients, alone[1][0], strict=True):
        assert not np.asarray(gradient)[~KEEP].any()
        assert_close(np.asarray(gradient)[KEEP], other, 1e-10)


@every_kernel
def test_no_matrix_of_all_pairs_is_held(case):
    size, features = 4096, 16
    rows = jax.ShapeDtypeStruct((size, features), jnp.float32)
    arrays = [rows, rows if case.record.inner[1] else jax.ShapeDtypeStruct((size,), jnp.int32)]

    def derivatives(*arrays):
        value, gradient = jax.value_and_grad(case.record.loss)(*arrays)
        return value, gradient, jax.jvp(lambda x: case.record.loss(x, *arrays[1:]), arrays[:1], arrays[:1])[1]

    memory = jax.jit(derivatives, compiler_options=OPTIMISED).lower(*arrays).compile().memory_analysis()
    assert memory is not None
    # A block of 256 keys of 4096, or of 8192 of both views, is a sixteenth.
    twice = case.record.name == "ntxent_loss"
    assert memory.temp_size_in_bytes < 4 * size * size * (1.5 if twice else 0.5)


@every_loss
def test_rows_may_come_in_any_order_and_at_any_scale(case):
    order = np.random.default_rng(1).permutation(16)
    arrays, scales = arrays_of(case), np.exp(np.random.default_rng(2).normal(size=(16, 1)))
    with jax.enable_x64(True):
        loss = jax.jit(functools.partial(case.record.loss, reduction="none"))
        values = np.asarray(loss(*arrays))
        assert_close(loss(*(array[order] for array in arrays)), values[..., order], 1e-11)
        assert_close(loss(scales * arrays[0], *arrays[1:]), values, 1e-11)


@every_kernel
def test_a_row_of_zeros_has_no_gradient_and_is_like_none(case):
    x = X.astype(np.float32)
    x[3] = 0
    rest = [np.float32(each) if each.dtype.kind == "f" else each for each in arrays_of(case)[1:]]
    value, gradient = jax.value_and_grad(case.record.loss)(jnp.asarray(x), *rest)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert not gradient[3].any()
    assert gradient[4].any()


def test_one_definition_is_a_case_of_the_other():
    one, other, both = np.float32(X), np.float32(Y), np.float32(np.concatenate([X, Y]))
    views = jaxloss.ntxent_loss(one, other, reduction="none")
    assert_close(jnp.ravel(views), jaxloss.supcon_loss(both, np.tile(np.arange(16), 2), reduction="none"), 1e-5)
    assert_close(jaxloss.clip_loss(one, other), jaxloss.clip_loss(other, one), 1e-6)
    ways = jaxloss.info_nce_loss(one, other), jaxloss.info_nce_loss(other, one)
    assert_close(jaxloss.clip_loss(one, other), sum(ways) / 2, 1e-6)
    assert_close(jaxloss.info_nce_loss(one, np.ones_like(one)), math.log(16), 1e-6)


def test_one_pair_by_hand():
    """Unit vectors at right angles: similarities of 1 and 0."""
    one, other = jnp.eye(2), jnp.eye(2)
    options: dict[str, Any] = {"temperature": 1.0}
    np.testing.assert_allclose(jaxloss.info_nce_loss(one, other, **options), math.log(1 + 1 / E1), rtol=1e-6)
    np.testing.assert_allclose(jaxloss.ntxent_loss(one, other, **options), math.log(1 + 2 / E1), rtol=1e-6)
    sig = math.log1p(1 / E1) + math.log(2)
    np.testing.assert_allclose(jaxloss.siglip_loss(one, other, logit_bias=0.0, **options), sig, rtol=1e-6)
    rows, labels = jnp.concatenate([one, other]), jnp.array([0, 1, 0, 1])
    np.testing.assert_allclose(jaxloss.supcon_loss(rows, labels, **options), math.log(1 + 2 / E1), rtol=1e-6)
    multi = math.log1p(math.exp(-1)) / 2 + math.log1p(2 * math.exp(-25)) / 50
    np.testing.assert_allclose(jaxloss.multi_similarity_loss(rows, labels), multi, rtol=1e-6)
    # Two negatives at 0, weighed by the margin; a positive at 1, weighed by it too.
    circle = math.log1p(2 * math.exp(-0.16 * 10 - 0.16 * 10))
    np.testing.assert_allclose(jaxloss.circle_loss(rows, labels, gamma=10.0), circle, rtol=1e-5)


MORE, MORE_IDS = RNG.normal(size=(6, 4)), RNG.integers(0, 8, 6)
IDS = np.arange(16) // 2


def plain_info_nce(x, y, negatives, ids, negative_ids):
    units = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (x, y, negatives)]
    x, y, negatives = units
    of_batch, more = (
        x @ y.T / 0.07,
        np.einsum("id,ikd->ik" if negatives.ndim == 3 else "id,kd->ik", x, negatives) / 0.07,
    )
    hidden = (ids[:, None] == ids) & ~np.eye(len(x), dtype=bool)
    more_hidden = ids[:, None] == negative_ids
    logits = np.concatenate([np.where(hidden, -np.inf, of_batch), np.where(more_hidden, -np.inf, more)], 1)
    return np.log(np.exp(logits).sum(1)) - of_batch.diagonal()


@pytest.mark.parametrize("of_each", [False, True])
def test_more_negatives_and_ids(of_each):
    negatives = RNG.normal(size=(16, 3, 4)) if of_each else MORE
    negative_ids = RNG.integers(0, 8, (16, 3)) if of_each else MORE_IDS
    with jax.enable_x64(True):
        options = {"ids": IDS, "negative_ids": negative_ids, "reduction": "none"}
        found = jaxloss.info_nce_loss(X, Y, negatives=negatives, **options)
        assert_close(found, plain_info_nce(X, Y, negatives, IDS, negative_ids), 1e-12)
        unknown = jaxloss.info_nce_loss(X, Y, negatives=negatives, reduction="none")
        assert_close(unknown, plain_info_nce(X, Y, negatives, np.arange(16), negative_ids - 99), 1e-12)


@pytest.mark.parametrize("of_each", [False, True])
def test_more_negatives_on_a_mesh(of_each):
    negatives = RNG.normal(size=(16, 3, 4)) if of_each else RNG.normal(size=(8, 4))
    negative_ids = RNG.integers(0, 8, negatives.shape[:-1])

    def loss(x, y, negatives, ids, negative_ids, **options):
        return jaxloss.info_nce_loss(x, y, negatives=negatives, ids=ids, negative_ids=negative_ids, **options)

    arrays = X, Y, negatives, IDS, negative_ids
    with jax.enable_x64(True):
        step = jax.value_and_grad(loss, (0, 1, 2))
        one_device = jax.jit(step)(*arrays)
        mesh = mesh_of(4)
        in_shards = jax.shard_map(
            functools.partial(loss, axis_name="data"), mesh=mesh, in_specs=P("data"), out_specs=P()
        )
        found = jax.jit(jax.value_and_grad(in_shards, (0, 1, 2)))(*arrays)
        jax.tree.map(functools.partial(assert_close, tolerance=1e-11), found, one_device)
        mesh = mesh_of(4, AxisType.Explicit)
        with jax.set_mesh(mesh):
            lying = [jax.device_put(array, NamedSharding(mesh, P("data"))) for array in arrays]
            jax.tree.map(functools.partial(assert_close, tolerance=1e-11), jax.jit(step)(*lying), one_device)


def test_a_clip_loss_leaves_duplicates_out_in_both_directions():
    with jax.enable_x64(True):
        ways = (jaxloss.info_nce_loss(*each, ids=IDS) for each in ((X, Y), (Y, X)))
        assert_close(jaxloss.clip_loss(X, Y, ids=IDS), sum(ways) / 2, 1e-12)


def test_a_weight_of_0_leaves_the_row_to_the_others():
    weights = np.ones(16)
    weights[3] = 0
    with jax.enable_x64(True):
        values = jaxloss.info_nce_loss(X, Y, reduction="none")
        weighed = jaxloss.info_nce_loss(X, Y, sample_weight=weights)
        assert_close(weighed, np.delete(values, 3).mean(), 1e-12)
        assert abs(weighed - jaxloss.info_nce_loss(X, Y, where=weights > 0)) > 1e-3


def test_on_a_mesh_the_rows_travel_once_and_their_gradient_once():
    mesh = mesh_of(8)
    size, features = 1024, 32
    lying = NamedSharding(mesh, P("data"))
    rows = jax.ShapeDtypeStruct((size, features), jnp.float32, sharding=lying)
    loss = jax.shard_map(
        functools.partial(jaxloss.clip_loss, axis_name="data"), mesh=mesh, in_specs=P("data"), out_specs=P()
    )
    text = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(rows, rows).compile(OPTIMISED).as_text() or ""
    sizes = [
        (kind, math.prod(map(int, dims.split(","))))
        for dims, kind in re.findall(r"f32\[([\d,]+)\]\S* (all-gather|reduce-scatter|all-reduce)\(", text)
    ]
    large = [kind for kind, count in sizes if count >= size * features // 8]
    assert large.count("all-gather") == 1
    assert large.count("reduce-scatter") + large.count("all-reduce") == 1


def test_points_that_coincide_have_a_finite_gradient():
    x, target = jnp.ones((2, 3)), jnp.array([1.0, -1.0])
    gradients = jax.grad(jaxloss.contrastive_loss, (0, 1))(x, x, target)
    assert all(not gradient.any() for gradient in gradients)
