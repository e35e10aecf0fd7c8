"""The weights of the Lovasz extension of the Jaccard loss."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from jaxloss._numerics.labels import is_explicitly_sharded


def jaccard_weights(scores: Array, members: Array, visible: Array | None) -> Array:
    """By how much each element adds to the Jaccard loss of its set, if all go wrong in order, the lowest score first.

    A set lies on the last axis. What is not visible comes last, and adds nothing. The weights are constant but where
    scores change places: no derivative flows through them. That of a score of NaN is NaN.
    """
    members = members if visible is None else members & visible
    scores, members, visible = jax.lax.stop_gradient((scores, members, visible))
    if is_explicitly_sharded(scores) and (lies := jax.typeof(scores).sharding).spec[-1] is not None:
        # An explicit mesh sorts no axis that lies on it.
        whole = lies.update(spec=P(*lies.spec[:-1], None))
        parts = jax.tree.map(lambda part: jax.sharding.reshard(part, whole), (scores, members, visible))
        return jax.sharding.reshard(jaccard_weights(*parts), lies)
    keys = _ordered_integers(scores)
    keys = keys if visible is None else jnp.where(visible, keys, jnp.iinfo(keys.dtype).max)
    places = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    # One payload: a place, and in its last bit whether it is a member.
    payload = 2 * places + members.astype(jnp.int32)
    payload = jax.lax.sort((keys, payload), dimension=-1, is_stable=False, num_keys=1)[1]
    is_member, places = payload % 2 == 1, payload // 2

    # How many there are up to here: members, and others. Sums of int32 are exact.
    so_far = jnp.cumsum(is_member, -1, dtype=jnp.int32)
    others = 1 + jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1) - so_far
    count = jnp.sum(members, -1, keepdims=True, dtype=jnp.int32)
    left, union = (count - so_far).astype(scores.dtype), (count + others).astype(scores.dtype)
    # Where there are no members, the first error makes all of the loss.
    of_other = jnp.where(union == 1, 1.0, left / jnp.maximum(union - 1, 1.0) / union)
    weights = _put_back(jnp.where(is_member, 1 / union, of_other), places)
    return jnp.where(jnp.isnan(scores), jnp.nan, weights)


def _ordered_integers(floats: Array) -> Array:
    """Integers in the same order, which are sorted faster: the bits, those of negative numbers the other way round."""
    kind = jnp.dtype(f"int{8 * floats.dtype.itemsize}")
    bits = jax.lax.bitcast_convert_type(floats, kind)
    return jnp.where(bits < 0, bits ^ jnp.iinfo(kind).max, bits)


def _put_back(values: Array, places: Array) -> Array:
    """The values at their places, of which each row has every one."""
    if is_explicitly_sharded(values):
        return jax.lax.sort((places, values), dimension=-1, is_stable=False, num_keys=1)[1]

    def put(values: Array, places: Array) -> Array:
        return values.at[places].set(values, unique_indices=True, mode="promise_in_bounds")

    for _ in range(values.ndim - 1):
        put = jax.vmap(put)
    return put(values, places)
