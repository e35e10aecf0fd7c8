"""Rows against proxies on every layout, against one device: classes and rows in `shard_map`, and an explicit mesh."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxloss
from tests.properties.test_sharded_classes import collectives
from tests.support import assert_close

RNG = np.random.default_rng(0)
ROWS, FEATURES, CLASSES = 8, 8, 16
ARRAYS = RNG.normal(size=(ROWS, FEATURES)), RNG.normal(size=(FEATURES, CLASSES))
# Labels on the edges of all shards, and rows of one class on two devices; on one no row is kept.
LABELS, WHERE = np.array([0, 15, 8, 7, 0, 3, 12, 4]), np.arange(ROWS) >= 2
DIRECTION = [RNG.normal(size=array.shape) for array in ARRAYS]
LOSSES: dict[str, Callable[..., jax.Array]] = {
    "arcface": functools.partial(jaxloss.arcface_loss, chunk_size=3),
    "cosface": functools.partial(jaxloss.cosface_loss, margin=0.2, scale=16.0),
    "proxy_nca": functools.partial(jaxloss.proxy_nca_loss, chunk_size=100),
    "proxy_anchor": functools.partial(jaxloss.proxy_anchor_loss, chunk_size=3),
}
# Of the rows, and of the kernel: features, classes.
LAYOUTS = [("data", None, None), ("data", None, "model"), (None, None, ("data", "model")), ("data", "data", "model")]


def derived(loss):
    """Value, gradient, and the second derivative along a direction, both ways."""

    def all_of_them(arrays, constants):
        of_arrays = lambda arrays: loss(*arrays, *constants)  # noqa: E731
        along = [jnp.asarray(each) for each in DIRECTION]
        gradient = jax.grad(of_arrays)
        slope = lambda arrays: sum(jnp.sum(g * d) for g, d in zip(gradient(arrays), along, strict=True))  # noqa: E731
        value, tangent = jax.jvp(of_arrays, (arrays,), (along,))
        return value, tangent, gradient(arrays), jax.grad(slope)(arrays), jax.jvp(gradient, (arrays,), (along,))[1]

    return jax.jit(all_of_them)


def whole(name, *arrays):
    return LOSSES[name](*arrays[:-1], where=arrays[-1])


@functools.cache
def on_one_device(name):
    with jax.enable_x64(True):
        return derived(functools.partial(whole, name))([jnp.asarray(each) for each in ARRAYS], (LABELS, WHERE))


def in_shards(name, mesh, specs, check, *arrays):
    rows, classes = specs[0][0], specs[1][1]

    def local(pred, kernel, labels, where):
        loss = functools.partial(LOSSES[name], where=where, class_axis_name=classes)
        if name == "proxy_anchor":
            return loss(pred, kernel, labels, axis_name=rows)
        return loss(pred, kernel, labels, reduction=functools.partial(jaxloss.reductions.mean, axis_name=rows))

    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=check)(*arrays)


CASES = [
    (kind, name, layout)
    for kind in ("shard_map", "explicit", "shard_map unchecked")
    for name in LOSSES
    for layout in LAYOUTS
    if kind == "explicit" or layout[1] is None
]


@pytest.mark.one_in(10)
@pytest.mark.parametrize(("kind", "name", "layout"), CASES)
def test_a_layout_changes_no_number(kind, name, layout):
    rows, features, classes = layout
    specs = P(rows), P(features, classes), P(rows), P(rows)
    axis_type = AxisType.Explicit if kind == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(axis_type,) * 2)
    loss = functools.partial(whole, name)
    if kind != "explicit":
        loss = functools.partial(in_shards, name, mesh, specs, kind == "shard_map")
    with jax.enable_x64(True), jax.set_mesh(mesh):
        placed = [
            jax.device_put(jnp.asarray(each), NamedSharding(mesh, spec))
            for each, spec in zip((*ARRAYS, LABELS, WHERE), specs, strict=True)
        ]
        found = derived(loss)(placed[:2], tuple(placed[2:]))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(on_one_device(name)), strict=True):
        assert_close(ours, theirs, 1e-11)


@pytest.mark.parametrize("name", ["arcface", "proxy_anchor"])
def test_no_proxy_moves(name):
    """Where each device has its classes and all rows, what they exchange is a few numbers a row."""
    mesh = jax.make_mesh((8,), ("model",), axis_types=(AxisType.Auto,))
    specs = P(), P(None, "model"), P(), P()
    shapes = ((16, 32), (32, 512), (16,), (16,))
    given = [
        jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))
        for shape, dtype, spec in zip(shapes, ("float32", "float32", "int32", "bool"), specs, strict=True)
    ]

    def local(pred, kernel, labels, where):
        return LOSSES[name](pred, kernel, labels, where=where, class_axis_name="model")

    loss = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())
    moved = collectives(jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*given).compile())
    # The gradient of the rows is a sum over all classes.
    assert sorted(moved)[-1] <= 16 * 32
    assert sum(moved) <= 16 * 32 + 8 * 16
    assert len(moved) <= 5


@pytest.mark.parametrize("name", LOSSES)
def test_a_label_out_of_range_is_nan_on_every_device_and_reported(name):
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    specs = P("data"), P(None, "model"), P("data"), P("data")
    loss = functools.partial(in_shards, name, mesh, specs, True)
    labels = np.where(np.arange(ROWS) == 5, CLASSES, LABELS).astype(np.int32)
    arrays = *(np.asarray(each, np.float32) for each in ARRAYS), labels, WHERE
    error, value = jax.jit(checkify.checkify(loss))(*arrays)
    assert np.isnan(value)
    with pytest.raises(checkify.JaxRuntimeError, match=f"{name}_loss: `target` must hold class indices in .0, 16."):
        error.throw()
