"""Which other row is the nearest, by blocks of keys."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._kernels.pairwise.sums import rows_in_blocks
from jaxloss._numerics.loops import lanes_of, repeat, zeros_like
from jaxloss._numerics.shards import varying_together


def nearest(x: Array, keys: Array, index: Array, index_of_keys: Array, keep: Array | None) -> Array:
    """The place among unit keys of the one nearest to each unit row x, and not of its index; 0 where there is none.

    Constant: it has no derivative. Similarities are of the highest precision, as near ones differ little.
    """
    x, keys = jax.lax.stop_gradient((x, keys))
    kept = jnp.ones_like(index_of_keys, bool) if keep is None else keep
    x, keys, index, index_of_keys, kept = varying_together((x, keys, index, index_of_keys, kept))
    places = jnp.arange(keys.shape[0], dtype=index_of_keys.dtype)
    blocks, at = rows_in_blocks(keys.shape[0], lanes_of(keys))

    def look(step: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        largest, nearest = state
        place = at(step)
        similarity = jax.lax.dot_general(
            x, place.take(keys), (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST
        )
        is_other = place.take(kept)[None] & (index[:, None] != place.take(index_of_keys)[None])
        similarity = jnp.where(is_other, similarity, -jnp.inf)
        here = jnp.argmax(similarity, 1)
        found = jnp.max(similarity, 1)
        return jnp.maximum(largest, found), jnp.where(found > largest, place.take(places)[here], nearest)

    zero = 0 * jnp.sum(jnp.isnan(x[:1, :1]))
    largest = zeros_like(x[:, 0], x.dtype, zero) - jnp.inf
    return repeat(blocks, look, (largest, zeros_like(index, index.dtype, zero)))[1]
