"""Rows compared with the proxies of classes: what a class needs of the rows of all devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxloss._kernels.linear_cross_entropy.layout import explicit_layout
from jaxloss._kernels.pairwise.sums import log_of_sum
from jaxloss._numerics.loops import finite
from jaxloss._numerics.shards import Shard
from jaxloss._typing import AxisName


class Axes(NamedTuple):
    """The axes of the mesh over which rows lie, and over which classes lie: inside `shard_map`, else None."""

    rows: AxisName | None
    classes: AxisName | None


def of_proxies(
    axes: Axes,
    local: Callable[[Axes, Array, dict[str, Array], Any], Array],
    kernel: Array,
    rows: dict[str, Array],
    numbers: Any,
) -> Array:
    """local(axes, kernel, rows, numbers), one number; on an explicit mesh each device has its own rows and classes."""
    layout = explicit_layout(rows["x"], kernel)
    if layout is None:
        return local(axes, kernel, rows, numbers)
    of_rows = {name: P(*layout.batch, *[None] * (each.ndim - 1)) for name, each in rows.items()}
    specs = P(None, layout.classes or None), of_rows, jax.tree.map(lambda _: P(), numbers)
    placed = jax.tree.map(
        lambda each, spec: jax.sharding.reshard(each, NamedSharding(layout.mesh, spec)), (kernel, rows, numbers), specs
    )

    def on_device(*arrays: Any) -> Array:
        return local(Axes(layout.tokens or None, layout.classes or None), *arrays)

    return jax.shard_map(on_device, mesh=layout.mesh, in_specs=specs, out_specs=P())(*placed)


def log_sum_exp_over(axis_name: AxisName | None, log_sums: Array) -> Array:
    """What each device has, over all."""
    if axis_name is None:
        return log_sums
    shard = Shard(0, axis_name)
    scale = shard.largest(log_sums)
    return log_of_sum(shard.sum(jnp.exp(log_sums - finite(scale))), scale)
