"""Losses over classes inside `shard_map`, each device with a part of the classes, against one device with all."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxloss
from tests.support import EVERY, FIRST, assert_close

BATCH, CLASSES = (8, 2), 16
# A kernel that all examples share lies on a mesh in more ways than this, which tests of its own hold.
# Of losses that share their code one stands for the others, but for one that takes a number a class at every call.
SHARDED = [
    case
    for case in EVERY
    if case.record.sharded_classes
    and not case.record.shared
    and (not case.record.like or any(isinstance(value, list) for value in case.record.variants[0].values()))
]
AUTO, EXPLICIT = jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit


def both_ways(cases):
    """As a CPU computes, and as other machines do."""
    cases = [case for case in cases if case in SHARDED]
    elsewhere = [dataclasses.replace(case, name=f"{case.name}-elsewhere", elsewhere=True) for case in cases]
    return cases + [case for case in elsewhere if case.record.two_ways]


def of_cases(cases):
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def make_mesh(axis_type=AUTO, **sizes):
    devices = jax.devices()[: math.prod(sizes.values())]
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(axis_type,) * len(sizes), devices=devices)


def of_all_classes(case, classes=CLASSES):
    """The case with a number for each of the classes where it has one for some."""
    options = {
        name: (classes * value)[:classes] if isinstance(value, list) else value for name, value in case.options.items()
    }
    return dataclasses.replace(case, options=options)


def draw(case):
    """Labels are each of the classes once, so that the first and the last of each device are among them.

    But for those that are ignored.
    """
    rng = np.random.default_rng(0)
    arrays = case.record.draw(rng, BATCH, case.options | {"weight": CLASSES * [1.0]})
    each = rng.permutation(CLASSES).reshape(BATCH)
    return [jnp.asarray(np.where(array < 0, array, each) if array.dtype.kind == "i" else array) for array in arrays]


def class_axes(mesh):
    return tuple(name for name in mesh.axis_names if name != "data")


def spec(mesh, case, position, ndim, batch: str | None = "data"):
    """Where an array of the case lies: its batch along `data`, if the mesh has that, its classes along the others."""
    axes = [batch if batch in mesh.axis_names else None, None][: ndim - case.record.inner[position]]
    if position in case.record.sharded_classes:
        axes.insert(case.options.get("axis", -1) % (len(axes) + 1), class_axes(mesh))
    return P(*axes)


def on_mesh(case, mesh, function, out_specs, check_vma=True, batch: str | None = "data"):
    """function(loss, where, weights, *arrays) on each device, with the part of the options that is its own.

    Where `batch` is None the axis `data` is left to `jit`.
    """
    lists = {name: jnp.asarray(value) for name, value in case.options.items() if isinstance(value, list | np.ndarray)}
    per_class = jax.device_put(lists, NamedSharding(mesh, P(class_axes(mesh))))

    def local(where, weights, per_class, *arrays):
        loss = functools.partial(case.loss(**per_class), class_axis_name=class_axes(mesh))
        return function(loss, where, weights, *arrays)

    def call(where, weights, *arrays):
        specs = [spec(mesh, case, position, array.ndim, batch) for position, array in enumerate(arrays)]
        masks = P(batch if batch in mesh.axis_names else None)
        in_specs = (masks, masks, P(class_axes(mesh)), *specs)
        manual = {name for name in mesh.axis_names if name in (batch, *class_axes(mesh))}
        mapped = jax.shard_map(
            local, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=check_vma, axis_names=manual
        )
        return mapped(where, weights, per_class, *arrays)

    return call


def reduced(loss, where, weights, *arrays, axis_name=None):
    """The mean of what the mask and the weights leave, the sum, and the losses themselves."""
    mean, total = (functools.partial(f, axis_name=axis_name) for f in (jaxloss.reductions.mean, jaxloss.reductions.sum))
    masked = loss(*arrays, where=where, sample_weight=weights, reduction=mean)
    return masked, loss(*arrays, reduction=total), loss(*arrays, reduction="none")


def derivatives(mean, arrays, wanted):
    """The gradient of a mean, the derivative along a direction, and that of the gradient, in two ways."""
    rng = np.random.default_rng(1)
    direction = [jnp.asarray(rng.normal(size=arrays[i].shape)) for i in wanted]

    def of_moved(*moved):
        return mean(*[moved[wanted.index(i)] if i in wanted else array for i, array in enumerate(arrays)])

    start, every = [arrays[i] for i in wanted], tuple(range(len(wanted)))
    gradient = jax.grad(of_moved, every)

    def slope(*moved):
        return sum(jnp.vdot(one, other) for one, other in zip(gradient(*moved), direction, strict=True))

    both, forward = jax.jvp(lambda *moved: (of_moved(*moved), gradient(*moved)), start, direction)
    return {
        "gradient": both[1],
        "forward": forward[0],
        "forward over reverse": forward[1],
        "reverse over reverse": jax.grad(slope, every)(*start),
    }


@functools.cache
def on_one_device(name):
    """The values and the derivatives of a case, as a CPU computes them."""
    case = of_all_classes(next(case for case in EVERY if case.name == name))
    loss, (where, weights) = case.loss(), masks()

    @jax.jit
    def compute(*arrays):
        values = reduced(loss, where, weights, *arrays)
        mean = functools.partial(loss, where=where, sample_weight=weights)
        return values, derivatives(mean, arrays, case.record.differentiable)

    return compute(*draw(case))


def masks():
    """Some losses hidden, and weights, some of them 0."""
    where, weights = np.ones(BATCH, bool), np.linspace(0.5, 2, np.prod(BATCH)).reshape(BATCH)
    where[1, 0], weights[2, 1], where[5] = False, 0.0, False
    return jnp.asarray(where), jnp.asarray(weights)


EVERY_WAY = both_ways(EVERY)
# Each way of each case on one layout, and each layout, with `check_vma` and without, several times in either half.
LAYOUTS = [((1, 2, 4, 8)[place // 2 % 4], place // 8 % 2 == 0) for place in range(len(EVERY_WAY))]


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("case", "shards", "check_vma"),
    [(case, *layout) for case, layout in zip(EVERY_WAY, LAYOUTS, strict=True)],
    ids=[case.name for case in EVERY_WAY],
)
def test_the_loss_and_its_derivatives_are_those_of_one_device(case, shards, check_vma):
    with jax.enable_x64(True):
        values, expected = on_one_device(case.name.removesuffix("-elsewhere"))
        case, mesh, given = of_all_classes(case), make_mesh(data=8 // shards, model=shards), masks()

        def each(*args):
            """What is reduced, from each device of the classes; and the losses."""
            mean, total, losses = reduced(*args, axis_name="data")
            return mean[None], total[None], losses

        def mean(loss, where, weights, *arrays):
            on_axis = functools.partial(jaxloss.reductions.mean, axis_name="data")
            return loss(*arrays, where=where, sample_weight=weights, reduction=on_axis)

        @jax.jit
        def compute(*arrays):
            call = functools.partial(on_mesh(case, mesh, mean, P(), check_vma), *given)
            of_each = on_mesh(case, mesh, each, (P("model"), P("model"), P("data")), check_vma)
            return of_each(*given, *arrays), derivatives(call, arrays, case.record.differentiable)

        (means, totals, losses), actual = compute(*draw(case))
        for of_devices, one in zip((means, totals), values, strict=False):
            assert_close(of_devices, np.broadcast_to(one, shards), 1e-12)
        assert_close(losses, values[2], 1e-12)
        jax.tree.map(lambda one, other: assert_close(one, other, 1e-12), actual, expected)


@of_cases(both_ways(FIRST))
def test_extremes_and_bad_labels_beside_devices_without_a_finite_logit(case):
    """The extremes of the record, with more classes, whose logits are -inf: on two of four devices all are."""
    record = case.record
    options = record.extremes[0].options
    extremes = [extreme for extreme in record.extremes if extreme.options == options]
    case = of_all_classes(dataclasses.replace(case, options=options), 8)

    def columns(position, fill, more):
        """An array of all extremes, each row filled up to eight classes."""
        arrays = [np.asarray(extreme.args[position]) for extreme in extremes]
        if record.inner[position]:
            arrays = [np.pad(array, ((0, 0), (0, 8 - array.shape[1])), constant_values=fill) for array in arrays]
        return jnp.asarray(np.concatenate([*arrays, more]))

    labels = np.asarray([] if record.inner[1] else [-1, 8, -(2**31), 2**31 - 1])
    bad = len(labels)
    with jax.enable_x64(True):
        arrays = [columns(0, -np.inf, np.zeros((bad, 8))), columns(1, 0.0, labels if bad else np.zeros((0, 8)))]
        call = on_mesh(
            case, make_mesh(model=4), lambda loss, *given: loss(*given[2:], reduction="none")[None], P("model")
        )

        def of_each(*arrays):
            losses = call(None, None, *arrays)
            return losses[0].sum(), losses

        def one(*arrays):
            return case.loss()(*arrays, reduction="none").sum()

        gradient, losses = jax.jit(jax.grad(of_each, has_aux=True))(*arrays)
        expected = np.concatenate([*[extreme.expected for extreme in extremes], bad * [np.nan]])
        np.testing.assert_allclose(losses, np.broadcast_to(expected, (4, len(expected))), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(gradient, jax.jit(jax.grad(one))(*arrays), rtol=1e-12, atol=1e-12)
        assert np.isnan(gradient[len(expected) - bad :]).all()


def collectives(compiled):
    """How many numbers each collective of a compiled program returns."""
    text = compiled.as_text() or ""
    kinds = "all-gather|all-to-all|collective-permute|all-reduce|reduce-scatter"
    found = re.findall(rf"= (\(.*?\)|\S+) (?:{kinds})(?:-start)?\(", text)
    shapes = [re.findall(r"\[([\d,]*)\]", returned) for returned in found]
    return [sum(np.prod([int(n) for n in shape.split(",") if n], dtype=int) for shape in each) for each in shapes]


@of_cases(both_ways(FIRST))
def test_a_gradient_inside_shard_map_takes_a_maximum_and_a_sum_of_a_few_numbers_a_row(case):
    case, rows = of_all_classes(case), np.prod(BATCH)
    with jax.enable_x64(True):
        arrays = draw(case)

        def step(loss, where, weights, *arrays):
            return jax.value_and_grad(loss, case.record.differentiable)(*arrays)

        mesh = make_mesh(model=4, more=2)
        specs = tuple(spec(mesh, case, i, arrays[i].ndim) for i in case.record.differentiable)
        call = functools.partial(on_mesh(case, mesh, step, (P(), specs)), None, None)
        compiled = jax.jit(call).lower(*arrays).compile()
        value, gradients = compiled(*arrays)
        expected = jax.jit(jax.value_and_grad(case.loss(), case.record.differentiable))(*arrays)
        assert_close(value, expected[0], 1e-12)
        for gradient, one in zip(gradients, expected[1], strict=True):
            assert_close(gradient, one, 1e-12)
        moved = collectives(compiled)
        assert len(moved) <= (2 if case.elsewhere else 3)
        assert max(moved) <= 5 * rows


@of_cases(both_ways(FIRST))
@pytest.mark.parametrize("axis_type", [AUTO, EXPLICIT], ids=str)
def test_under_jit_sharded_classes_stay_where_they_are(case, axis_type):
    mesh, arrays = make_mesh(axis_type, data=2, model=4), []
    case = of_all_classes(case, 8 * CLASSES)
    for position, array in enumerate(draw(case)):
        shape = (*BATCH, 8 * CLASSES) if position in case.record.sharded_classes else array.shape
        sharding = NamedSharding(mesh, spec(mesh, case, position, array.ndim))
        arrays.append(jax.ShapeDtypeStruct(shape, array.dtype, sharding=sharding))
    with jax.set_mesh(mesh):
        step = jax.jit(jax.value_and_grad(case.loss(), case.record.differentiable))
        compiled = step.lower(*arrays).compile()
    # A row has 32 logits on each device.
    assert max(collectives(compiled)) <= 8 * (np.prod(BATCH) // 2)


@pytest.mark.skipif(jax.__version_info__ < (0, 12), reason="shard_map takes no part of an explicit mesh")
@of_cases(EVERY_WAY)
def test_the_batch_may_stay_on_an_explicit_mesh(case):
    """It traces, and the gradient lies where the logits do."""
    case, mesh = of_all_classes(case), make_mesh(EXPLICIT, data=2, model=4)
    with jax.set_mesh(mesh):
        arrays = [
            jax.device_put(array, NamedSharding(mesh, spec(mesh, case, position, array.ndim)))
            for position, array in enumerate(draw(case))
        ]
        call = on_mesh(case, mesh, lambda loss, *given: loss(*given[2:]), P(), batch=None)
        step = jax.grad(functools.partial(call, None, None))
        assert jax.eval_shape(step, *arrays).sharding == jax.typeof(arrays[0]).sharding


@of_cases([case for case in FIRST if case in SHARDED or case.record.in_a_shard is not None])
def test_an_axis_that_parts_nothing_is_refused(case):
    name = "class_axis_name" if case.record.sharded_classes else "axis_name"
    case = of_all_classes(case)
    per_class = {name: jnp.asarray(value) for name, value in case.options.items() if isinstance(value, list)}
    arrays, mesh = draw(case), make_mesh(data=2, model=4)

    def trace(value, *axes, check_vma=True):
        def local(per_class, *arrays):
            return case.loss(**per_class)(*arrays, **{name: value})

        specs = tuple(P(*axes[-array.ndim :]) if array.ndim == arrays[0].ndim else P() for array in arrays)
        in_specs = (P(*axes[2:]), *specs)
        mapped = jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=P(), check_vma=check_vma)
        jax.eval_shape(mapped, per_class, *arrays)

    for unknown in ("classes", ("model", "model"), ["model", "classes"], 3.5):
        with pytest.raises(ValueError, match=f"{case.record.name}: `{name}` must name axes of the mesh"):
            trace(unknown, None, None, "data")
    with pytest.raises(AssertionError, match=f"{case.record.name}: `pred` must hold another part on each .*`{name}`"):
        trace("data")
    with pytest.raises(AssertionError, match="the same along 'model'"):
        trace(("data", "model"), None, None, "data")
    trace("data", check_vma=False)
    trace(["data"], None, None, "data")


REPORTS = [(case, bad) for case in FIRST if case in SHARDED for bad in case.record.reports]


@pytest.mark.one_in(1)
@pytest.mark.parametrize(("case", "bad"), REPORTS, ids=[f"{case.name}-{bad.message[:30]}" for case, bad in REPORTS])
def test_bad_values_are_reported_from_parts(case, bad):
    """The class of each of five devices tells none of them."""
    case = dataclasses.replace(case, options=bad.options)
    call = on_mesh(case, make_mesh(model=5), lambda loss, *given: loss(*given[2:]), P())
    error, _ = jax.jit(checkify.checkify(call))(None, None, *map(jnp.asarray, bad.args))
    with pytest.raises(checkify.JaxRuntimeError, match=f"{case.record.name}: {bad.message}"):
        error.throw()


@of_cases([case for case in FIRST if case in SHARDED])
def test_good_values_are_not_reported_from_parts(case):
    case = of_all_classes(case)
    call = on_mesh(case, make_mesh(model=8), lambda loss, *given: loss(*given[2:]), P())
    jax.jit(checkify.checkify(call))(None, None, *draw(case))[0].throw()


@of_cases([case for case in FIRST if case.record.in_a_shard is not None])
@pytest.mark.parametrize("check_vma", [True, False])
def test_a_set_that_spans_devices_is_summed_over_them(case, check_vma):
    """Of six sets, each on four devices, one has no element left on half of them, and one on none."""
    case = dataclasses.replace(case, options=case.options | {"axis": 0})
    rng = np.random.default_rng(0)
    where = rng.random((8, 6)) < 0.7
    where[:4, 1], where[:, 2] = False, False
    with jax.enable_x64(True):
        arrays = case.record.draw(rng, (8, 6), case.options)
        mesh, wanted = make_mesh(data=4, model=2), case.record.differentiable

        def local(where, *arrays):
            on_axis = functools.partial(jaxloss.reductions.mean, axis_name="model")
            loss = functools.partial(case.loss(axis_name="data"), where=where)
            return loss(*arrays, reduction=on_axis), loss(*arrays, reduction="none")

        specs = (P("data", "model"),) * (1 + len(arrays))
        call = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=(P(), P("model")), check_vma=check_vma)
        (mean, losses), gradients = jax.jit(jax.value_and_grad(functools.partial(call, where), wanted, has_aux=True))(
            *arrays
        )
        assert_close(losses, case.oracle(arrays, "none", where), 1e-12)
        assert_close(mean, case.oracle(arrays, "mean", where), 1e-12)
        for gradient, exact in zip(gradients, case.oracle_gradient(arrays, where), strict=True):
            assert_close(gradient, exact, 1e-9)
