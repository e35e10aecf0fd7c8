"""What losses over sharded classes hold and send on a mesh of 16 TPUs, as the compiler counts it.

`python -m benchmarks.accelerators --mesh` prints it, with the plain head beside the one in blocks;
`tests/properties/test_accelerators.py` holds that to its bars.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxloss
from benchmarks import hlo

TOPOLOGY, SHAPE, AXES = "v5e:4x4", (4, 4), ("data", "model")
# Tokens, features, classes.
SIZE = (32_768, 4096, 131_072)
# Where the kernel lies: its features, its classes. The features of the tokens lie along `data`.
LAYOUTS = {
    "replicated": (None, None),
    "over classes": (None, "model"),
    "over features": ("data", None),
    "over both": ("data", "model"),
}
# In MB, by the dtype: what the head may hold on each device.
BARS = {
    "replicated": {"float32": 3440, "bfloat16": 1300},
    "over classes": {"float32": 1010, "bfloat16": 450},
    "over features": {"float32": 450, "bfloat16": 250},
    "over both": {"float32": 350, "bfloat16": 200},
}
# How many times the bytes that the plain head sends.
SENT = 1.35
# Of logits, beside the head.
LOSSES = (
    jaxloss.cross_entropy,
    jaxloss.softmax_focal_loss,
    jaxloss.nll_loss,
    jaxloss.soft_target_cross_entropy,
)
MESHES = ("automatic", "explicit", "shard_map")
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")


@dataclass(frozen=True)
class OnMesh:
    """One loss in one layout, on each device."""

    loss: str
    layout: str
    mesh: str
    dtype: str
    temporaries: int
    products: float
    # Bytes of collectives by their kind; of an all-reduce twice, of what is scattered its whole.
    sent: dict[str, float]

    @property
    def name(self) -> str:
        return f"{self.loss} {self.layout} {self.mesh} {self.dtype}"

    @property
    def bytes_sent(self) -> float:
        return sum(self.sent.values())


def products_of(layout: str) -> float:
    """Additions and multiplications of three products, on each device."""
    tokens, features, classes = SIZE
    return 6.0 * tokens * features * classes / SHAPE[0] / (SHAPE[1] if LAYOUTS[layout][1] else 1)


def plain_head(pred: Any, kernel: Any, target: Any) -> Any:
    """The logits, their normaliser and the label's, as one would write them."""
    logits = jnp.matmul(pred, kernel, preferred_element_type=jnp.float32)
    own = jnp.take_along_axis(logits, target[:, None], -1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, -1) - own)


def measure_head(devices: Sequence[Any], layout: str, mesh: str, dtype: str, **options: Any) -> OnMesh:
    """The plain head, on the mesh `plain`, or ours."""
    tokens, features, classes = SIZE
    of_features, of_classes = LAYOUTS[layout]
    names = {"feature_axis_name": of_features, "class_axis_name": of_classes}
    specs = P("data", None), P(of_features, of_classes), P("data")
    if mesh == "plain":
        loss = plain_head
    elif mesh == "shard_map":
        mean = functools.partial(jaxloss.reductions.mean, axis_name="data")
        loss = functools.partial(jaxloss.linear_cross_entropy, reduction=mean, **names, **options)
    else:
        named = {"batch_spec": P("data"), **names} if mesh == "automatic" else {}
        loss = functools.partial(jaxloss.linear_cross_entropy, **named, **options)
    arrays = [((tokens, features), dtype), ((features, classes), dtype), ((tokens,), "int32")]
    return _measure(devices, "linear_cross_entropy", loss, arrays, specs, (0, 1), layout, mesh, dtype)


def measure_logits(devices: Sequence[Any], loss: Callable[..., Any], dtype: str) -> OnMesh:
    """A loss of logits and labels whose classes are sharded, in `shard_map`."""
    tokens, _, classes = SIZE
    mean = functools.partial(jaxloss.reductions.mean, axis_name="data")
    local = functools.partial(loss, class_axis_name="model", reduction=mean)
    soft = loss is jaxloss.soft_target_cross_entropy
    target = ((tokens, classes), dtype) if soft else ((tokens,), "int32")
    arrays, specs = (
        [((tokens, classes), dtype), target],
        (P("data", "model"), P("data", "model") if soft else P("data")),
    )
    return _measure(devices, loss.__name__, local, arrays, specs, (0,), "over classes", "shard_map", dtype)


def _measure(
    devices: Sequence[Any],
    name: str,
    loss: Callable[..., Any],
    arrays: Sequence[tuple[tuple[int, ...], str]],
    specs: tuple[Any, ...],
    gradients: tuple[int, ...],
    layout: str,
    mesh: str,
    dtype: str,
) -> OnMesh:
    kind = AxisType.Explicit if mesh == "explicit" else AxisType.Auto
    there = Mesh(np.array(devices).reshape(SHAPE), AXES, axis_types=(kind, kind))
    if mesh == "shard_map":
        loss = jax.shard_map(loss, mesh=there, in_specs=specs, out_specs=P())
    placed = [NamedSharding(there, spec) for spec in specs]
    given = [
        jax.ShapeDtypeStruct(shape, array_dtype, sharding=sharding)
        for (shape, array_dtype), sharding in zip(arrays, placed, strict=True)
    ]
    results = NamedSharding(there, P()), tuple(placed[place] for place in gradients)
    with jax.set_mesh(there):
        step = jax.jit(jax.value_and_grad(loss, gradients), out_shardings=results)
        compiled = step.lower(*given).compile()
    module = hlo.Module(compiled.as_text() or "")
    analysis = compiled.memory_analysis()
    assert analysis is not None
    sent = {each: module.sent(each) for each in KINDS}
    return OnMesh(name, layout, mesh, dtype, analysis.temp_size_in_bytes, module.products(), sent)


def measure_all(devices: Sequence[Any], dtypes: Sequence[str]) -> Iterator[OnMesh]:
    for dtype in dtypes:
        for layout in LAYOUTS:
            for mesh in ("plain", *MESHES):
                yield measure_head(devices, layout, mesh, dtype)
        for loss in LOSSES:
            yield measure_logits(devices, loss, dtype)


def lines(results: Sequence[OnMesh]) -> Iterator[tuple[str, ...]]:
    """A table: MB a device."""
    yield "Loss", "Kernel or logits", "Mesh", "Dtype", "MB held", "MB sent", "of which", "10^12 operations of products"
    for each in results:
        kinds = ", ".join(f"{kind} {sent / 1e6:.0f}" for kind, sent in each.sent.items() if sent >= 5e5)
        yield (
            f"`{each.loss}`" if each.mesh != "plain" else "plain head",
            each.layout,
            each.mesh if each.mesh != "plain" else "automatic",
            each.dtype,
            f"{each.temporaries / 1e6:.3g}" if each.temporaries < 1e8 else f"{each.temporaries / 1e6:.0f}",
            f"{each.bytes_sent / 1e6:.2g}" if each.bytes_sent < 1e7 else f"{each.bytes_sent / 1e6:.0f}",
            kinds or "-",
            f"{each.products / 1e12:.1f}",
        )


def markdown(results: Sequence[OnMesh], command: str, versions: str) -> str:
    head, *rows = lines(results)
    table = "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
    tokens, features, classes = SIZE
    return (
        "# What the compiler counts on a mesh of 16 TPUs v5e\n\n"
        f"`{command}`: {versions}.\n\n"
        f"Value and gradient of {tokens} tokens, {features} features, {classes} classes, compiled for 4x4 devices that "
        "were not there, `data` x `model`; the tokens lie over `data`. This is the compiler's count for one device, no "
        "time: what it holds besides arguments and results, and the bytes of its collectives, loops times their trips, "
        "of an all-reduce twice, of a reduce-scatter what goes in.\n\n"
        f"{table}\n"
    )
