"""How tokens are cut into blocks, and where the blocks lie on a mesh."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import max_dim
from jax.export import is_symbolic_dim
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxloss._numerics.labels import is_explicitly_sharded
from jaxloss._numerics.xla import UPDATES_BFLOAT16_IN_PLACE

# More blocks save nothing beside the features, and rounding grows with each that is added to the kernel's gradient.
_MOST_BLOCKS = 1024


def blocks_of_tokens(tokens: Any, chunk_size: int | None) -> tuple[Any, Any]:
    """How many blocks, and of how many tokens, for a size that may be symbolic."""
    size = max_dim(chunk_size or max_dim(128, tokens // 64), -(-tokens // _MOST_BLOCKS))
    blocks = -(-tokens // size) if is_symbolic_dim(tokens) or tokens else 0
    # Blocks of one size need less padding.
    return blocks, size if is_symbolic_dim(tokens) else -(-tokens // max(blocks, 1))


def blocks_of_classes(classes: int, blocks: Any) -> int:
    if blocks is None or is_symbolic_dim(blocks):
        blocks = min(classes // 512, 256)
    # Two at least: XLA unrolls a loop of one step, and takes into it what must stand outside.
    size = -(-classes // max(blocks, 2))
    return max(-(-classes // size), 2)


def has_blocks_of_classes(pred: Array, kernel: Array) -> bool:
    """Where the kernel's gradient is bfloat16: blocks of tokens would sum it in float32, blocks of classes need no sum.

    In float32 the sum stands where the result will, and to compute the logits twice costs more. Of float16 the range is
    too small for gradients. XLA:CPU before jax 0.11.2 copies a whole array of bfloat16 whenever a loop updates a part.
    """
    is_bfloat16 = pred.dtype == kernel.dtype == jnp.bfloat16
    return is_bfloat16 and not is_explicitly_sharded(kernel) and UPDATES_BFLOAT16_IN_PLACE


def with_whole_features(pred: Array, kernel: Array, arrays: dict[str, Array]) -> tuple[Array, Array, dict[str, Array]]:
    """On an explicit mesh no axis may shard the features, nor one that shards the tokens the classes."""
    (*batch, features), (_, classes) = (jax.typeof(array).sharding.spec for array in (pred, kernel))
    of_tokens = set(_names(batch))
    classes = tuple(name for name in _names([classes]) if name not in of_tokens) or None
    if features is not None:
        pred = _reshard(pred, P(*batch, None))
    kernel = _reshard(kernel, P(None, classes))
    return pred, kernel, {name: _reshard(array, P(classes)) if array.ndim else array for name, array in arrays.items()}


def _names(spec: Iterable[Any]) -> list[Any]:
    """The mesh axes of a part of a spec."""
    entries = [axis if isinstance(axis, tuple) else (axis,) for axis in spec if axis is not None]
    return [name for entry in entries for name in entry]


def _reshard(array: Array, spec: P) -> Array:
    sharding = jax.typeof(array).sharding
    if _names(sharding.spec) == _names(spec) == []:
        return array
    return jax.sharding.reshard(array, NamedSharding(sharding.mesh, spec))


def lanes_of(pred: Array) -> tuple[int, NamedSharding | None]:
    """In how many lanes the tokens run side by side, and the mesh axes that these are known to lie on.

    A lane stays on its device and sums its own gradient of the kernel, so that the devices add theirs once and not once
    a block. On one device, and in `shard_map`, there is one.
    """
    mesh, spec = jax.typeof(pred).sharding.mesh, jax.typeof(pred).sharding.spec
    first, later = (*spec[:-1], None)[0], spec[1:-1]
    if any(axis is not None for axis in later):
        return max(math.prod(pred.shape[:-1]), 1), None  # Tokens would have to move: one lane each, no blocks.
    kinds = zip(mesh.shape.items(), mesh.axis_types, strict=True)
    parts = math.prod(size for (name, size), kind in kinds if kind == AxisType.Auto or name in _names([first]))
    size = (*pred.shape[:-1], 0)[0]
    lanes = (parts if size % parts == 0 else 1) if is_symbolic_dim(size) else math.gcd(parts, size)
    return lanes, None if first is None else NamedSharding(mesh, P(first))


def in_blocks(
    array: Array, batch_ndim: int, lanes: int, blocks: Any, size: Any, sharding: NamedSharding | None
) -> Array:
    """(*batch, ...) to (lanes, size, blocks, ...): every block takes tokens of every part of a lane."""
    if sharding is not None:
        array = jax.sharding.reshard(array, sharding)
    rest = array.shape[batch_ndim:]
    tokens = math.prod(array.shape[:batch_ndim]) // lanes
    array = array.reshape(lanes, array.shape[0] // lanes, *array.shape[1:]).reshape(lanes, tokens, *rest)
    array = jnp.pad(array, [(0, 0), (0, size * blocks - tokens), *[(0, 0) for _ in rest]])
    return array.reshape(lanes, size, blocks, *rest)


def in_lanes(array: Array, lanes: int, sharding: NamedSharding | None) -> Array:
    """One for each lane; the transpose of this adds up the gradients of the lanes."""
    if sharding is not None:
        sharding = NamedSharding(sharding.mesh, P(*sharding.spec, *jax.typeof(array).sharding.spec))
    copies = jnp.broadcast_to(array, (lanes, *array.shape), out_sharding=sharding)
    # JAX 0.12 leaves a constant, such as no bias, where it was.
    return copies if sharding is None else jax.sharding.reshard(copies, sharding)


def side_by_side(lanes: int, function: Callable[..., Array]) -> Callable[..., Array]:
    if lanes > 1:
        return jax.vmap(function)
    # An axis of one that stays would cost a copy of the kernel's gradient.
    return lambda *arrays: function(*jax.tree.map(lambda array: array[0], arrays))[None]
