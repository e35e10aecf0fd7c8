"""Values, checked at run time on request; unchecked, those outside their domain become NaN if that costs no pass."""

import functools
import operator
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.experimental import checkify

from jaxloss._numerics.shards import Shard
from jaxloss._typing import AxisName

# How far a sum of probabilities may be off besides their own rounding: a float32 softmax's, or bfloat16's (8 bits).
SUM_TOLERANCE = 1e-2
# How many units in the last place a probability may lie beyond 0 or 1: sums of a softmax do so by two or three.
ULPS_BEYOND = 4


def near_unit_interval(p: Array, slack: float) -> Array:
    """Probabilities, with those that rounding took beyond 0 or 1 moved back."""
    return jnp.where((p >= -slack) & (p <= 1 + slack), jnp.clip(p, 0.0, 1.0), p)


def lowest_and_highest(array: Array) -> dict[str, Array]:
    """The lowest and the highest number, also of empty arrays and of arrays whose size is symbolic."""
    info = jnp.iinfo(array.dtype) if jnp.issubdtype(array.dtype, jnp.integer) else jnp.finfo(array.dtype)
    low, high = (info.min, info.max) if isinstance(info, jnp.iinfo) else (-jnp.inf, jnp.inf)
    return {"lowest": array.min(initial=high), "highest": array.max(initial=low)}


def size_as_float(size: Any) -> Array:
    """A size, which may be symbolic."""
    return jnp.asarray(float(size) if isinstance(size, int) else size, jnp.float32)


def count(array: Array) -> Array:
    """How many numbers an array holds."""
    return functools.reduce(operator.mul, map(size_as_float, array.shape), jnp.float32(1))


class Values:
    """What the numbers of an array must be."""

    def __init__(self, function: str):
        self.function = function
        # The dtype in which the loss and its options are computed.
        self.dtype: Any = jnp.float32
        # The dtypes that arrays had before they were cast.
        self._given: dict[str, Any] = {}

    def check(self, holds: Any, message: str, **values: Any) -> None:
        """A value contract; the arrays `values` are put into the message."""
        checkify.debug_check(jnp.asarray(holds), f"{self.function}: {message}", **values)

    def check_labels(self, target: Array, classes: int, hint: str = "") -> None:
        self.check_range(f"class indices in [0, {classes})", (target >= 0) & (target < classes), hint, target=target)

    def probabilities(self, hint: str = "", **arrays: Array) -> Array:
        """Values in [0, 1]; NaN where they are outside by more than rounding."""
        ((name, array),) = arrays.items()
        slack = self.slack(name, array)
        return self._inside("values in [0, 1]", (array >= -slack) & (array <= 1 + slack), hint, **arrays)

    def slack(self, name: str, array: Array) -> float:
        """How far beyond 0 or 1 a probability may lie, in the dtype in which it was given."""
        return ULPS_BEYOND * float(jnp.finfo(self._given.get(name, array.dtype)).eps)

    def nonnegative_values(self, hint: str = "", **arrays: Array) -> Array:
        """Values at least 0; NaN where negative."""
        (array,) = arrays.values()
        return self._inside("values at least 0", array >= 0, hint, **arrays)

    def signs(self, hint: str, **arrays: Array) -> Array:
        """-1 or 1; NaN elsewhere."""
        (array,) = arrays.values()
        return self._inside("-1 or 1", jnp.abs(array) == 1, hint, **arrays)

    def _inside(self, needed: str, holds: Array, hint: str, **arrays: Array) -> Array:
        self.check_range(needed, holds, hint, **arrays)
        (array,) = arrays.values()
        return array * jnp.where(holds, 1.0, jnp.nan)  # A factor: NaN spreads to the gradient too.

    def check_log_probabilities(self, hint: str = "", **arrays: Array) -> None:
        for name, array in arrays.items():
            # With many classes all probabilities are near 0, but log-probabilities are not all at least 0.
            probabilities = jnp.all(array >= 0) & jnp.any(array > 1e-6)
            holds = (array <= SUM_TOLERANCE) & ~probabilities
            self.check_range("log-probabilities, at most 0", holds, hint, **{name: array})

    def check_range(self, needed: str, holds: Array, hint: str, **arrays: Array) -> None:
        ((name, array),) = arrays.items()
        message = f"`{name}` must hold {needed}, got values from {{lowest}} to {{highest}}. {hint}".rstrip()
        self.check(jnp.all(holds), message, **lowest_and_highest(array))

    def rounding(self, name: str, array: Array) -> tuple[float, float]:
        """The rounding error of numbers in the dtype in which they were given: relative, and absolute."""
        info = jnp.finfo(self._given.get(name, array.dtype))
        return 0.5 * float(info.eps), 0.5 * float(info.smallest_subnormal)

    def check_not_softmax(
        self, pred: Array, axis: int, where: Array | None, axis_name: AxisName | None = None, name: str = "pred"
    ) -> None:
        """Reports the double softmax: logits that are non-negative and sum to 1 in every row."""
        shard = Shard(pred.shape[axis], axis_name)
        if shard.total == 1 or not pred.size:
            return
        looks = (jnp.abs(shard.sum(pred.sum(axis)) - 1) <= SUM_TOLERANCE) & (shard.largest(-pred.min(axis)) <= 0)
        all_look = jnp.all(looks) if where is None else jnp.all(looks | ~where) & jnp.any(where)
        self.check(
            ~all_look,
            f"`{name}` must hold logits, got probabilities: every row sums to 1 along axis {axis}. Drop the softmax "
            "from the model's output, or pass its logarithm.",
        )

    def check_not_sigmoid(self, pred: Array, where: Array | None) -> None:
        """Reports the double sigmoid: many logits, none outside [0, 1], some near each end. Less proves nothing."""
        low, high = jnp.min(pred, initial=jnp.inf, where=where), jnp.max(pred, initial=-jnp.inf, where=where)
        many = (count(pred) if where is None else jnp.sum(where, dtype=jnp.float32)) >= 32
        looks = many & (low >= 0) & (low < 0.1) & (high > 0.9) & (high <= 1)
        self.check(
            ~jnp.asarray(looks),
            "`pred` must hold logits, got values that fill [0, 1] and never leave it. Drop the sigmoid from the "
            "model's output.",
        )
