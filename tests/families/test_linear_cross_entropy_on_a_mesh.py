"""The large head on every layout, against one device: shards in `shard_map`, an automatic and an explicit mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxloss
from tests.support import assert_close

RNG = np.random.default_rng(0)
TOKENS, FEATURES, CLASSES = (8, 3), 8, 16
PRED, KERNEL, BIAS = (
    RNG.normal(size=(*TOKENS, FEATURES)),
    RNG.normal(size=(FEATURES, CLASSES)),
    RNG.normal(size=CLASSES),
)
WEIGHT = np.linspace(0, 2, CLASSES)
# Labels on the edges of all shards, and one that is ignored.
LABELS = np.arange(24).reshape(TOKENS) % CLASSES
WHERE, SAMPLE_WEIGHT = RNG.random(TOKENS) < 0.8, RNG.random(TOKENS)
DIRECTION = [RNG.normal(size=array.shape) for array in (PRED, KERNEL, BIAS, WEIGHT)]
OPTIONS = {
    "plain": {},
    "all": {"label_smoothing": 0.2, "z_loss": 0.1, "logit_softcap": 3.0, "ignore_index": 5, "num_classes": 15},
}
# Of the kernel: features, classes.
LAYOUTS = [(None, None), (None, "model"), ("data", None), ("data", "model")]
MESHES = ("automatic", "explicit", "shard_map", "shard_map unchecked")


def head(options, reduction, pred, kernel, bias, weight, labels, where, sample_weight, **more):
    more = more | options
    if "num_classes" in options:  # The last class is padding, and no label.
        labels = jnp.minimum(labels, options["num_classes"] - 1)
        more |= {"weight": weight, "where": where, "sample_weight": sample_weight}
    return jaxloss.linear_cross_entropy(pred, kernel, labels, bias=bias, reduction=reduction, **more)


def derived(loss):
    """Value, gradient, and the second derivative along a direction, both ways."""

    def all_of_them(arrays, constants):
        of_arrays = lambda arrays: loss(*arrays, *constants)  # noqa: E731
        gradient = jax.grad(of_arrays)
        along = [jnp.asarray(each) for each in DIRECTION]
        slope = lambda arrays: sum(jnp.sum(g * d) for g, d in zip(gradient(arrays), along, strict=True))  # noqa: E731
        value, tangent = jax.jvp(of_arrays, (arrays,), (along,))
        return value, tangent, gradient(arrays), jax.grad(slope)(arrays), jax.jvp(gradient, (arrays,), (along,))[1]

    return jax.jit(all_of_them)


def arrays_and_constants():
    return [jnp.asarray(each) for each in (PRED, KERNEL, BIAS, WEIGHT)], (LABELS, WHERE, SAMPLE_WEIGHT)


@functools.cache
def on_one_device(name, reduction):
    def loss(*arrays):
        return head(OPTIONS[name], reduction, *arrays).sum()

    with jax.enable_x64(True):
        return derived(loss)(*arrays_and_constants())


@pytest.mark.parametrize(
    ("blocks", "reduction", "name", "features", "classes"),
    [("classes", "mean", "all", *layout) for layout in LAYOUTS]
    + [("classes", "none", "plain", *layout) for layout in LAYOUTS]
    + [("tokens", "mean", "all", None, None), ("tokens", "mean", "plain", "data", None)],
)
@pytest.mark.parametrize("mesh_kind", MESHES)
@pytest.mark.one_in(6)
def test_a_layout_changes_no_number(mesh_kind, blocks, reduction, name, features, classes):
    axis_type = AxisType.Explicit if mesh_kind == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(axis_type,) * 2)
    options = OPTIONS[name] | {"chunk_size": 2, "blocks": blocks}
    names = {"feature_axis_name": features, "class_axis_name": classes}
    tokens, per_class = P("data"), P(classes)
    specs = [tokens, P(features, classes), per_class, per_class, tokens, tokens, tokens]

    def whole(*arrays):
        named = {"batch_spec": tokens, **names} if mesh_kind == "automatic" else {}
        return head(options, reduction, *arrays, **named).sum()

    def in_shards(*arrays):
        on_axis = functools.partial(getattr(jaxloss.reductions, reduction), axis_name="data")

        def local(*arrays):
            loss = head(options, on_axis, *arrays, **names)
            return jax.lax.psum(loss.sum(), "data") if reduction == "none" else loss

        check = mesh_kind == "shard_map"
        return jax.shard_map(local, mesh=mesh, in_specs=tuple(specs), out_specs=P(), check_vma=check)(*arrays)

    with jax.enable_x64(True):
        expected = on_one_device(name, reduction)
        arrays, constants = arrays_and_constants()
        with jax.set_mesh(mesh):
            placed = [
                jax.device_put(array, NamedSharding(mesh, spec))
                for array, spec in zip([*arrays, *constants], specs, strict=True)
            ]
            loss = in_shards if mesh_kind.startswith("shard_map") else whole
            found = derived(loss)(placed[:4], placed[4:])
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert_close(ours, theirs, 1e-12)


# Where tokens lie on a mesh of 2 x 2 x 2, their shape, and of the kernel the axes and sizes of features and classes.
BATCH = ("data", "fsdp")
PLACES = {
    "sequences on the second axis": (P("data", "fsdp"), (4, 8), ("fsdp", 8), ("model", 16)),
    "one sequence": (P(None, "fsdp"), (1, 8), ("fsdp", 8), (None, 16)),
    "a batch over two axes": (P(BATCH), (8, 3), ("fsdp", 8), ("model", 16)),
    "a batch and features over two axes": (P(BATCH), (8, 3), (BATCH, 8), (None, 13)),
    "classes over two axes": (P("data"), (4, 3), (None, 5), (("fsdp", "model"), 16)),
    "a batch on no axis": (P(), (7, 3), (None, 5), ("model", 16)),
    "sizes that divide nothing": (P(), (7,), (None, 5), (None, 13)),
    "padding on more than one device": (P(BATCH), (8, 3), ("fsdp", 8), ("model", 16)),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mesh_kind", MESHES)
@pytest.mark.one_in(4)
def test_tokens_and_classes_may_lie_anyhow(mesh_kind, place):
    """The value and its gradient, whichever axes shard the batch, and if none does."""
    batch, shape, (feature_axis, features), (class_axis, classes) = PLACES[place]
    axis_type = AxisType.Explicit if mesh_kind == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((2, 2, 2), ("data", "fsdp", "model"), axis_types=(axis_type,) * 3)
    rng = np.random.default_rng(0)
    exist = 3 if place.startswith("padding") else classes
    arrays = rng.normal(size=(*shape, features)), rng.normal(size=(features, classes)), rng.normal(size=classes)
    given = *arrays, rng.integers(exist, size=shape)
    specs = batch, P(feature_axis, class_axis), P(class_axis), batch
    names = {"feature_axis_name": feature_axis, "class_axis_name": class_axis}

    def loss(pred, kernel, bias, labels, **more):
        options = {"chunk_size": 2, "num_classes": exist, "label_smoothing": 0.1}
        return jaxloss.linear_cross_entropy(pred, kernel, labels, bias=bias, **options, **more)

    on_mesh = loss
    if mesh_kind == "automatic":
        on_mesh = functools.partial(loss, batch_spec=batch, **names)
    elif mesh_kind != "explicit":
        axes = tuple(jax.tree.leaves(tuple(batch)))
        mean = functools.partial(jaxloss.reductions.mean, axis_name=axes) if axes else "mean"
        local, check = functools.partial(loss, reduction=mean, **names), mesh_kind == "shard_map"
        on_mesh = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=check)
    with jax.enable_x64(True):
        expected = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*given)
        with jax.set_mesh(mesh):
            placed = [jax.device_put(a, NamedSharding(mesh, spec)) for a, spec in zip(given, specs, strict=True)]
            found = jax.jit(jax.value_and_grad(on_mesh, (0, 1, 2)))(*placed)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert_close(ours, theirs, 1e-12)


EDGES = {
    "a label out of range": ({}, -1, 0.0),
    "a label that is padding": ({"num_classes": 15}, 15, 0.0),
    "no logit on a device": ({}, 0, -np.inf),
    "large logits": ({}, 9, 1e4),
}


@pytest.mark.parametrize(("options", "label", "bias"), EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("check_vma", [True, False])
def test_what_one_device_holds_reaches_all(options, label, bias, check_vma):
    """The loss and the gradient are the same on each device, with the bias of half the classes at an edge."""
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    labels = np.asarray(LABELS % 7).astype(np.int32)
    labels[0, 0] = label
    biases = np.where(np.arange(CLASSES) < 8, BIAS, bias)
    arrays = PRED, KERNEL

    def loss(pred, kernel, bias, labels, **names):
        return jaxloss.linear_cross_entropy(pred, kernel, labels, bias=bias, reduction="none", **options, **names)

    def summed(*arrays, loss=loss):
        losses = loss(*arrays)
        return jnp.sum(losses), losses

    specs = P("data"), P(None, "model"), P("model"), P("data")
    shards = functools.partial(loss, class_axis_name="model")
    # Each device returns the losses of its tokens, and so shows that they are the same along the classes.
    out = P(("data", "model")) if not check_vma else P("data")
    on_mesh = jax.shard_map(shards, mesh=mesh, in_specs=specs, out_specs=P("data"), check_vma=check_vma)
    each = jax.shard_map(shards, mesh=mesh, in_specs=specs, out_specs=out, check_vma=check_vma)
    step = functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
    with jax.enable_x64(True):
        found = jax.jit(step(functools.partial(summed, loss=on_mesh)))(*arrays, biases, labels)
        expected = jax.jit(step(summed))(*arrays, biases, labels)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert_close(ours, theirs, 1e-12)
        if not check_vma:
            copies = jax.jit(each)(*arrays, biases, labels).reshape(2, 4, 4, 3)
            assert_close(copies, jnp.broadcast_to(copies[:, :1], copies.shape), 0)
