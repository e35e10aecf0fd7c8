"""What `properties/test_processes.py` starts twice: `python -m tests.processes ADDRESS PROCESS FOLDER`.

Each process has four of the eight devices of a mesh, and writes the numbers that it sees.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxloss

PROCESSES, DEVICES = 2, 4
# 4 by 2 devices, in an order in which the processes share out the batch or the classes between them.
MESHES = {"batch": lambda devices: devices.reshape(4, 2), "classes": lambda devices: devices.reshape(2, 4).T}
RNG = np.random.default_rng(0)
TOKENS, FEATURES, CLASSES = 16, 8, 24
PRED, KERNEL = RNG.normal(size=(TOKENS, FEATURES)), RNG.normal(size=(FEATURES, CLASSES))
LOGITS, WEIGHT = RNG.normal(size=(TOKENS, CLASSES)), RNG.random(CLASSES)
LABELS = RNG.integers(CLASSES, size=TOKENS)
PAIRED = PRED + RNG.normal(size=PRED.shape)
# Much, little and nothing is kept on a device.
WHERE = np.arange(TOKENS) % 5 < np.arange(TOKENS) // 4


class Case(NamedTuple):
    """A loss of arrays, the first of which are differentiated, and how it is called on a mesh."""

    loss: Callable[..., Any]
    differentiated: int
    arrays: tuple[Any, ...]
    specs: tuple[Any, ...]
    axis_type: AxisType
    # Inside `shard_map`, if there are any.
    names: dict[str, Any] | None = None
    axis_name: Any = "data"

    def on_one_device(self) -> Any:
        return self._derived(self.loss)(*self.arrays)

    def on_mesh(self, devices: Any) -> Any:
        mesh = jax.sharding.Mesh(devices, ("data", "model"), axis_types=(self.axis_type,) * 2)
        loss = self.loss
        if self.names is not None:
            mean = functools.partial(jaxloss.reductions.mean, axis_name=self.axis_name)
            local = functools.partial(loss, reduction=mean, **self.names)
            loss = jax.shard_map(local, mesh=mesh, in_specs=self.specs, out_specs=P())
        with jax.set_mesh(mesh):
            return self._derived(loss)(*map(functools.partial(placed, mesh), self.specs, self.arrays))

    def _derived(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        return jax.jit(jax.value_and_grad(loss, tuple(range(self.differentiated))))


def placed(mesh: Any, spec: P, array: Any) -> jax.Array:
    """Each process gives its devices their parts of an array that all know."""
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, NamedSharding(mesh, spec), lambda part: array[part])


def cross_entropy(logits: Any, weight: Any, labels: Any, where: Any, **options: Any) -> Any:
    return jaxloss.cross_entropy(logits, labels, weight=weight, label_smoothing=0.1, where=where, **options)


def head(pred: Any, kernel: Any, weight: Any, labels: Any, where: Any, **options: Any) -> Any:
    options |= {"label_smoothing": 0.1, "z_loss": 0.01, "chunk_size": 2}
    return jaxloss.linear_cross_entropy(pred, kernel, labels, weight=weight, where=where, **options)


def masked_mean(pred: Any, where: Any, reduction: Any = jaxloss.reductions.mean) -> Any:
    return reduction(jnp.square(pred), jnp.broadcast_to(where[:, None], pred.shape).astype(pred.dtype))


def retrieval(pred: Any, target: Any, temperature: Any, bias: Any, where: Any, **options: Any) -> Any:
    """Rows against the rows of all devices, in both directions and pair by pair."""
    clip = jaxloss.clip_loss(pred, target, temperature=temperature, where=where, **options)
    return clip + jaxloss.siglip_loss(pred, target, temperature=temperature, logit_bias=bias, where=where, **options)


OF_HEAD = (PRED, KERNEL, WEIGHT, LABELS, WHERE)
ON_BOTH = (P("data"), P("data", "model"), P("model"), P("data"), P("data"))
BOTH = P(("data", "model"))
CASES = {
    "cross_entropy, classes in shard_map": Case(
        cross_entropy,
        2,
        (LOGITS, WEIGHT, LABELS, WHERE),
        (P("data", "model"), P("model"), P("data"), P("data")),
        AxisType.Auto,
        {"class_axis_name": "model"},
    ),
    "linear_cross_entropy on an explicit mesh": Case(head, 3, OF_HEAD, ON_BOTH, AxisType.Explicit),
    "linear_cross_entropy in shard_map": Case(
        head, 3, OF_HEAD, ON_BOTH, AxisType.Auto, {"feature_axis_name": "data", "class_axis_name": "model"}
    ),
    "masked mean in shard_map": Case(
        masked_mean, 1, (PRED, WHERE), (BOTH, BOTH), AxisType.Auto, {}, axis_name=("data", "model")
    ),
    "contrastive losses in shard_map": Case(
        retrieval,
        4,
        (PRED, PAIRED, 0.5, -1.0, WHERE),
        (BOTH, BOTH, P(), P(), BOTH),
        AxisType.Auto,
        {"axis_name": ("data", "model")},
        axis_name=("data", "model"),
    ),
}


class Model(nnx.Module):
    def __init__(self) -> None:
        rngs, dtype = nnx.Rngs(0), jnp.float64
        self.hidden = nnx.Linear(FEATURES, 12, rngs=rngs, dtype=dtype, param_dtype=dtype)
        self.head = nnx.Linear(12, CLASSES, rngs=rngs, dtype=dtype, param_dtype=dtype)

    def __call__(self, pred: Any) -> Any:
        return self.head(nnx.relu(self.hidden(pred)))


def training_step(devices: Any = None) -> Any:
    """The loss, the parameters after a step of gradient descent, and the loss that follows."""
    definition, params = nnx.split(Model())
    arrays = PRED, LABELS, WHERE
    if devices is not None:
        mesh = jax.sharding.Mesh(devices, ("data", "model"))
        params = jax.tree.map(lambda array: placed(mesh, P(None, "model") if array.ndim == 2 else P(), array), params)
        # Each process reads its own examples and no others.
        own = {row for device in jax.local_devices() for row in np.argwhere(devices == device)[:, 0]}
        rows = np.isin(np.arange(TOKENS) // (TOKENS // len(devices)), list(own))
        sharding = NamedSharding(mesh, P("data"))
        arrays = [
            jax.make_array_from_process_local_data(sharding, array[rows], global_shape=array.shape) for array in arrays
        ]
    optimizer = optax.sgd(0.5, momentum=0.9)

    def loss(params: Any, pred: Any, labels: Any, where: Any) -> Any:
        return jaxloss.cross_entropy(nnx.merge(definition, params)(pred), labels, where=where)

    @jax.jit
    def step(params: Any, *arrays: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(params, *arrays)
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        params = optax.apply_updates(params, updates)
        return value, params, loss(params, *arrays)

    return step(params, *arrays)


NAMES = [*CASES, "a training step"]


def numbers(name: str, devices: Any = None) -> list[Any]:
    """On one device, or on the devices of a mesh."""
    case = CASES.get(name)
    if case is None:
        result = training_step(devices)
    else:
        result = case.on_one_device() if devices is None else case.on_mesh(devices)
    return [np.asarray(multihost_utils.process_allgather(leaf, tiled=True)) for leaf in jax.tree.leaves(result)]


def main(address: str, process: str, folder: str) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_x64", True)
    jax.distributed.initialize(address, num_processes=PROCESSES, process_id=int(process))
    assert (jax.process_count(), jax.local_device_count()) == (PROCESSES, DEVICES)
    for kind, order in MESHES.items():
        for name in NAMES:
            print(kind, name, flush=True)
            np.savez(
                os.path.join(folder, f"{kind}, {name}, {process}.npz"), *numbers(name, order(np.asarray(jax.devices())))
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
