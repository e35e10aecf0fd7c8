"""Where the rows lie on a mesh, and what their devices exchange."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxloss._kernels.pairwise.sums import log_of_sum
from jaxloss._numerics.loops import finite
from jaxloss._numerics.shards import Shard
from jaxloss._typing import AxisName

# Bytes of the rows of all devices up to which they are gathered whole.
GATHERED_AT_ONCE = 2**28


class Mesh(NamedTuple):
    """The axes over which rows lie: inside `shard_map`, else None."""

    axis_name: AxisName | None
    # Whether arrays that are no rows of the batch are whole on each device.
    is_explicit: bool = False

    def gathered(self, rows: Any) -> Any:
        """The rows of all devices: their gradients are added up where the rows lie."""
        if self.axis_name is None:
            return rows
        return jax.tree.map(lambda each: jax.lax.all_gather(each, self.axis_name, tiled=True), rows)

    def is_large(self, rows: Array) -> bool:
        """Whether no device should hold the rows of all: they are gathered twice, block by block, and not once."""
        return self.axis_name is not None and rows.nbytes * jax.lax.axis_size(self.axis_name) > GATHERED_AT_ONCE

    def indices(self, rows: Array) -> Array:
        """Of the rows of this device, among all."""
        return Shard(rows.shape[0], self.axis_name).indices()

    def own(self, log_sums: Array, rows: Array) -> Array:
        """The log sum exp over all devices of what each has for all keys: of the keys of this device."""
        if self.axis_name is None:
            return log_sums
        shard = Shard(rows.shape[0], self.axis_name)
        scale = shard.largest(log_sums)
        sums = jax.lax.psum_scatter(jnp.exp(log_sums - finite(scale)), self.axis_name, tiled=True)
        first = shard.size * jax.lax.axis_index(self.axis_name)
        return log_of_sum(sums, jax.lax.dynamic_slice_in_dim(scale, first, shard.size))


def of_rows(
    axis_name: AxisName | None, local: Callable[[Mesh, Any, Any, Any], Any], rows: Any, shared: Any, numbers: Any
) -> Any:
    """local(mesh, rows, shared, numbers), of arrays of the batch, of others and of options: numbers of each row.

    On an explicit mesh each device computes those of its own rows.
    """
    meshes = [jax.typeof(each).sharding for each in jax.tree.leaves((rows, shared))]
    explicit = [each for each in meshes if any(axis is not None for axis in each.spec)]
    if not explicit:
        return local(Mesh(axis_name), rows, shared, numbers)
    mesh = explicit[0].mesh
    axes = tuple(dict.fromkeys(name for each in meshes[: len(jax.tree.leaves(rows))] for name in _names(each.spec[:1])))

    def lying(arrays: Any, spec: P) -> Any:
        return jax.tree.map(lambda each: jax.sharding.reshard(each, NamedSharding(mesh, spec)), arrays)

    def on_device(*arrays: Any) -> Any:
        return local(Mesh(axes or None, True), *arrays)

    specs = P(axes or None), P(), P()
    on_mesh = jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=specs[0])
    return on_mesh(*map(lying, (rows, shared, numbers), specs))


def _names(spec: Iterable[Any]) -> tuple[Any, ...]:
    """The mesh axes of a part of a spec."""
    return tuple(name for axis in spec if axis is not None for name in (axis if isinstance(axis, tuple) else (axis,)))
