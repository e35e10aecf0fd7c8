"""How tokens and classes are cut into blocks, and where they lie on a mesh."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import max_dim
from jax.export import is_symbolic_dim
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxloss._numerics.labels import is_explicitly_sharded
from jaxloss._numerics.xla import UPDATES_BFLOAT16_IN_PLACE
from jaxloss._typing import AxisName

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


def fits_blocks_of_classes(pred: Array, kernel: Array) -> bool:
    """Where the kernel's gradient is bfloat16: blocks of tokens would sum it in float32, blocks of classes need no sum.

    In float32 the sum stands where the result will, and to compute the logits twice costs more. Of float16 the range is
    too small for gradients. XLA:CPU before jax 0.11.2 copies a whole array of bfloat16 whenever a loop updates a part.
    """
    return pred.dtype == kernel.dtype == jnp.bfloat16 and UPDATES_BFLOAT16_IN_PLACE


class Layout(NamedTuple):
    """Where tokens, features and classes lie: the mesh axes of each."""

    mesh: Any
    batch: tuple[Any, ...]  # As in a `PartitionSpec`.
    features: tuple[Any, ...]
    classes: tuple[Any, ...]

    def specs(self, kernel: Any, arrays: Any, pred: Any, per_token: Any) -> tuple[Any, ...]:
        del kernel, pred
        classes = self.classes or None
        return (
            P(self.features or None, classes),
            jax.tree.map(lambda array: P(classes) if array.ndim else P(), arrays),
            P(*self.batch, None),
            jax.tree.map(lambda _: P(*self.batch), per_token),
        )

    def size(self, names: tuple[Any, ...]) -> int:
        """How many devices lie along these axes."""
        return math.prod(self.mesh.shape[name] for name in names)

    @property
    def tokens(self) -> tuple[Any, ...]:
        return _names(self.batch)


def explicit_layout(pred: Array, kernel: Array) -> Layout | None:
    """What the types of the arrays say. Axes that shard the tokens do not shard the classes too."""
    if not is_explicitly_sharded(pred) and not is_explicitly_sharded(kernel):
        return None
    sharding = jax.typeof(pred).sharding
    (*batch, _), (features, classes) = sharding.spec, jax.typeof(kernel).sharding.spec
    of_tokens = _names(batch)
    features, classes = _names([features]), tuple(name for name in _names([classes]) if name not in of_tokens)
    # Features are gathered block by block if each device has tokens of its own; else once.
    features = features if set(features) <= set(of_tokens) else ()
    return Layout(sharding.mesh, tuple(batch), features, classes)


def named_layout(
    function: str, batch: P, feature_axis_name: AxisName | None, class_axis_name: AxisName | None
) -> Layout:
    """What the caller says of arrays on an automatic mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    features, classes = _names([feature_axis_name]), _names([class_axis_name])
    layout = Layout(mesh, tuple(batch), features, classes)
    names = (*layout.tokens, *(name for name in features if name not in layout.tokens), *classes)
    known = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    if len(set(names)) < len(names) or any(known.get(name) != AxisType.Auto for name in names):
        raise ValueError(
            f"{function}: `batch_spec`, `feature_axis_name` and `class_axis_name` must name axes of an automatic mesh, "
            f"set by jax.set_mesh, the classes' none of the others', got {batch}, {feature_axis_name!r} and "
            f"{class_axis_name!r}, and the axes {known}."
        )
    if not set(features) <= set(layout.tokens):
        raise ValueError(
            f"{function}: `feature_axis_name` must name axes that shard the tokens too, as FSDP does, got "
            f"{feature_axis_name!r} and `batch_spec` {batch}."
        )
    return layout


def placed(layout: Layout | None, *arrays: Any) -> tuple[Any, ...]:
    """A kernel, numbers a class, features, and arrays of the batch, where an explicit mesh shall have them."""
    if layout is None or AxisType.Explicit not in layout.mesh.axis_types:
        return arrays
    return jax.tree.map(
        lambda array, spec: jax.sharding.reshard(array, NamedSharding(layout.mesh, spec)), arrays, layout.specs(*arrays)
    )


def _names(spec: Iterable[Any]) -> tuple[Any, ...]:
    """The mesh axes of a part of a spec."""
    entries = [axis if isinstance(axis, tuple) else (axis,) for axis in spec if axis is not None]
    return tuple(name for entry in entries for name in entry)


def in_blocks(array: Array, batch_ndim: int, lanes: int, blocks: Any, size: Any) -> Array:
    """(*batch, ...) to (lanes, size, blocks, ...): every block takes tokens of every part of a lane."""
    rest = array.shape[batch_ndim:]
    tokens = math.prod(array.shape[:batch_ndim]) // lanes
    array = array.reshape(lanes, array.shape[0] // lanes, *array.shape[1:]).reshape(lanes, tokens, *rest)
    array = jnp.pad(array, [(0, 0), (0, size * blocks - tokens), *[(0, 0) for _ in rest]])
    return array.reshape(lanes, size, blocks, *rest)


def out_of_blocks(array: Array, shape: tuple[Any, ...]) -> Array:
    """(lanes, size, blocks, ...) to (*batch, ...), of which `shape` is the batch's."""
    lanes, size, blocks, *rest = array.shape
    tokens = math.prod(shape) // lanes
    array = array.reshape(lanes, size * blocks, *rest)[:, :tokens]
    return array.reshape(lanes, shape[0] // lanes, *shape[1:], *rest).reshape(*shape, *rest)


def in_lanes(array: Array, lanes: int) -> Array:
    """One for each lane; the transpose of this adds up the gradients of the lanes."""
    return jnp.broadcast_to(array, (lanes, *array.shape))


def side_by_side(lanes: int, function: Callable[..., Any]) -> Callable[..., Any]:
    if lanes > 1:
        return jax.vmap(function)

    # An axis of one that stays would cost a copy of the kernel's gradient.
    def alone(*arrays: Any) -> Any:
        result = function(*jax.tree.map(lambda array: array[0], arrays))
        return jax.tree.map(lambda array: array[None], result)

    return alone
