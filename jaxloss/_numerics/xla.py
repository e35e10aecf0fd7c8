"""What steers XLA: each function says what it prevents, where that was seen, and which test holds it.

What is for one platform costs nothing on the others. There are two switches, to be set before a loss is traced:
`STEERING = False` turns off what changes no number, to see in compiled text what it is for; `ELSEWHERE = True` makes a
CPU compute as a GPU and a TPU do. docs/xla.md has the figures.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.shards import varying_together

STEERING = True
ELSEWHERE = False

# XLA:CPU casts half precision where it sums, from jax 0.11.2 on; before, it stored what it had cast.
# Held by `test_what_is_summed_is_not_stored_beside_the_gradient`.
FUSES_CASTS_INTO_SUMS = jax.__version_info__ >= (0, 11, 2)

# XLA:CPU updates a part of a bfloat16 array in a loop in place, from jax 0.11.2 on; before, it turned the whole array
# to float32 and back at each step. Held by the memory tests of `linear_cross_entropy`.
UPDATES_BFLOAT16_IN_PLACE = jax.__version_info__ >= (0, 11, 2)

# Before jax 0.12 a loop that is differentiated in reverse forgets derivatives of our own: the second one is JAX's.
# Held by `test_second_order_of_blocks_in_every_mode`.
KEEPS_DERIVATIVES_IN_LOOPS = jax.__version_info__ >= (0, 12)


@jax.custom_jvp
def fuse_whole(values: Array) -> Array:
    """The values, through a select that changes none of them.

    Prevents XLA:CPU (jax 0.8 to 0.12) from fusing the last operation of an elementwise formula into a reduction and
    storing what comes before it: an array of float32 for each such formula. Elsewhere a select in a fusion is free.
    Held by `test_an_elementwise_loss_stores_its_values_and_nothing_else`.
    """
    return jnp.where(jnp.isnan(values), jnp.nan, values) if STEERING else values


fuse_whole.defjvp(lambda primals, tangents: (fuse_whole(*primals), *tangents))


def between_divisions(quotient: Array) -> Array:
    """The quotient, to be divided again.

    Prevents XLA, on every platform, from turning two divisions in a row into one by the square, which overflows long
    before. It changes numbers, so that nothing turns it off. Held by the stress tests.
    """
    return jnp.where(jnp.isnan(quotient), jnp.nan, quotient)


def prevent_cse(x: Array) -> Array:
    """The same number, but another one to common-subexpression elimination.

    Prevents XLA from computing once, and storing, what a value and its derivative have in common. A select does this
    for arrays: from jax 0.11.2 on XLA:CPU stores what stands behind an optimization barrier (up to three arrays in
    bfloat16). A scalar keeps the barrier: else the gradient, which it scales, is computed before the values and leaves
    them no buffer to reuse. Held by the same test as `fuse_whole`.
    """
    if not STEERING:
        return x
    return fuse_whole(x) if x.ndim else jax.lax.optimization_barrier(x)


def third_copy(x: Array) -> Array:
    """The same as `prevent_cse`, and another number than that: for a third that has as much in common with the two.

    Prevents XLA:GPU (jax 0.12) from storing what two operands of a reduction have in common. Held by
    `tests/properties/test_accelerators.py`.
    """
    return jnp.where(x == x, x, jnp.nan) if STEERING else x


def in_order(first: Array, *then: Array) -> tuple[Array, ...]:
    """The arrays, none of which is used before the first is computed: its operands' buffers are free by then.

    Prevents XLA:CPU (jax 0.12) from computing two sums of one pass side by side, with an array stored for each. Held by
    `test_what_is_summed_is_not_stored_beside_the_gradient`.
    """
    return jax.lax.optimization_barrier((first, *then)) if STEERING else (first, *then)


def at_once(*columns: Array) -> tuple[Array, ...]:
    """The same columns; of gradients to them, none is used before all are computed.

    Prevents XLA on a TPU and a GPU (jax 0.12) from computing them where it puts them side by side, and storing all that
    they have in common. Held by `tests/properties/test_accelerators.py`.
    """
    return jax.lax.optimization_barrier(columns) if STEERING else columns


def stay_in_loop(part: Array, step: Array) -> Array:
    """A part of an array that the step of a loop takes, whose casts stay in the loop too.

    Prevents XLA:TPU (jax 0.12) from casting the whole array before the loop, and keeping both: a product of float32 is
    one of bfloat16 there. Held by `tests/properties/test_accelerators.py`.
    """
    return by_platform(
        part,
        step,
        cpu=lambda part, step: part,
        elsewhere=lambda part, step: part * jnp.where(step >= 0, 1.0, 0.0).astype(part.dtype),
    )


def by_platform(*arrays: Array, cpu: Callable[..., Any], elsewhere: Callable[..., Any]) -> Any:
    """One of two ways to compute the same arrays, chosen while lowering, when the platform is known.

    XLA:CPU (jax 0.8 to 0.12) is slow where a reduction has a function of its own. GPUs and TPUs reduce several numbers
    in one pass at no cost, and there it is memory traffic that takes the time. Held by
    `tests/properties/test_accelerators.py`, and by the cases `elsewhere` of the tests of numbers.

    Inside `shard_map` both must agree in what varies from device to device.
    """
    arrays = varying_together(arrays)
    return elsewhere(*arrays) if ELSEWHERE else jax.lax.platform_dependent(*arrays, cpu=cpu, default=elsewhere)
