"""What a call must keep. The only module that calls chex and checkify.

Shapes and dtypes are asserted by chex while tracing. Values are stated with `checkify.debug_check`: compiled code
carries no trace of them until the outermost step is wrapped in `chex.chexify` or `checkify.checkify`.
"""

import itertools
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import checkify

# Rounding allowed in a sum of probabilities, which may come from bfloat16 (8 bits).
_SUM_TOLERANCE = 1e-2


def _describe(array: Array) -> str:
    return f"{array.dtype} of shape {array.shape}"


def single_precision(array: Array) -> Array:
    """Half precision and less become float32, so that losses are neither quantised nor overflow."""
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


def _signed(indices: Array) -> Array:
    """Small and unsigned integers become signed ones that hold every class, so that no index wraps."""
    return indices.astype(jnp.int64 if indices.dtype.itemsize == 8 else jnp.int32)


def _require(problem: str, assertion: Callable[..., None], *args: Any) -> None:
    """A chex assertion that speaks in our words."""
    try:
        assertion(*args)
    except AssertionError:
        raise AssertionError(problem) from None


def asserting() -> bool:
    """Whether chex asserts; `chex.disable_asserts` stops it."""
    try:
        chex.assert_scalar(None)
    except AssertionError:
        return True
    return False


class Contract:
    """The contract of one loss function: each method checks a part of it and returns what the formula may use."""

    def __init__(self, function: str):
        self.function = function

    # Shapes and dtypes, while tracing.

    def array(self, name: str, value: Any) -> Array:
        is_array = isinstance(value, numbers.Number) or hasattr(value, "dtype") or hasattr(value, "__jax_array__")
        if not is_array:
            raise TypeError(f"{self.function}: `{name}` must be an array, got {type(value).__name__}.")
        return jnp.asarray(value)

    def floats(self, hint: str = "", /, **arrays: Any) -> tuple[Array, ...]:
        """Floating arrays of one shape, that of the first; returned in float32 or better."""
        return tuple(map(single_precision, self.floats_as_given(hint, **arrays)))

    def floats_as_given(self, hint: str = "", /, **arrays: Any) -> tuple[Array, ...]:
        """The same, in their own dtypes: for a loss that casts them where it reads them."""
        checked = [self.array(name, value) for name, value in arrays.items()]
        shape, first = checked[0].shape, next(iter(arrays))
        for name, array in zip(arrays, checked, strict=True):
            needed, cast = f", of shape {shape} as `{first}`", hint or f"Cast it: {name}.astype(jnp.float32)."
            if name == first:
                needed, cast = "", f"Cast it: {name}.astype(jnp.float32)."
            problem = f"{self.function}: `{name}` must be floating{needed}, got {_describe(array)}."
            _require(f"{problem} {cast}", chex.assert_type, array, float)
            reshape = f"Reshape it: {name}.reshape({first}.shape)." if array.size == checked[0].size else hint
            _require(f"{problem} {reshape or 'Losses do not broadcast.'}", chex.assert_shape, array, shape)
        return tuple(checked)

    def floating(self, shapes: Sequence[tuple[int, ...]], hint: str = "", /, **arrays: Any) -> Array:
        """A floating array of one of the shapes; returned in float32 or better."""
        ((name, value),) = arrays.items()
        array = self.array(name, value)
        needed = " or ".join(map(str, dict.fromkeys(shapes)))
        problem = f"{self.function}: `{name}` must be floating, of shape {needed}, got {_describe(array)}."
        _require(f"{problem} Cast it: {name}.astype(jnp.float32).", chex.assert_type, array, float)
        shape = array.shape if array.shape in shapes else shapes[0]
        _require(f"{problem} {hint or 'Losses do not broadcast.'}", chex.assert_shape, array, shape)
        return single_precision(array)

    def axis(self, axis: int, ndim: int) -> int:
        """A class axis, counted from the front."""
        if not isinstance(axis, int | np.integer) or not -ndim <= axis < ndim:
            raise ValueError(f"{self.function}: `axis` must be an axis of `pred`, which has {ndim}, got {axis!r}.")
        return int(axis) % ndim

    def axes(self, axes: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
        """Axes to sum over, counted from the front; None is all of them."""
        if axes is None:
            return tuple(range(ndim))
        checked = tuple(self.axis(axis, ndim) for axis in ([axes] if isinstance(axes, int | np.integer) else axes))
        if len(set(checked)) < len(checked):
            raise ValueError(f"{self.function}: `axis` must not name an axis twice, got {axes!r}.")
        return checked

    def classes(self, axis: int, hint: str = "", **arrays: Any) -> tuple[Array, ...]:
        """Floating arrays of one shape that has a class axis, with at least one class."""
        first = next(iter(arrays))
        checked = self.floats(hint, **arrays)
        pred = checked[0]
        problem = f"{self.function}: `{first}` must have an axis of at least one class, got {_describe(pred)}."
        _require(problem, chex.assert_rank, pred, set(range(1, max(pred.ndim, 1) + 1)))
        _require(problem, chex.assert_axis_dimension_gt, pred, self.axis(axis, pred.ndim), 0)
        return checked

    def class_indices(self, pred: Array, axis: int, target: Any, hint: str = "") -> Array:
        """Integer class indices of pred's shape without the class axis; returned signed."""
        return self._indices(pred.shape[:axis] + pred.shape[axis + 1 :], "class indices", target, hint)

    def label_lists(self, pred: Array, target: Any, hint: str = "") -> Array:
        """For each row of classes a list of class indices, of pred's shape; returned signed."""
        return self._indices(pred.shape, "lists of class indices", target, hint)

    def _indices(self, shape: tuple[int | str, ...], meaning: str, target: Any, hint: str) -> Array:
        """Integers of a shape in which a name stands for any size."""
        target = self.array("target", target)
        problem = (
            f"{self.function}: `target` must hold integer {meaning} of shape {shape}, got {_describe(target)}. {hint}"
        )
        _require(problem, chex.assert_type, target, int)
        _require(problem, chex.assert_shape, target, tuple(None if isinstance(size, str) else size for size in shape))
        return _signed(target)

    def index(self, **options: Any) -> Any:
        """An option that is one integer."""
        ((name, value),) = options.items()
        array = self.array(name, value)
        problem = f"{self.function}: `{name}` must be one integer, got {_describe(array)}."
        _require(problem, chex.assert_type, array, int)
        _require(problem, chex.assert_shape, array, ())
        return value

    def class_index(self, classes: int, **options: int) -> int:
        """An option that is the index of one class, a Python number."""
        ((name, value),) = options.items()
        if not isinstance(value, int | np.integer) or not 0 <= value < classes:
            raise ValueError(f"{self.function}: `{name}` must be a class index in [0, {classes}), got {value!r}.")
        return int(value)

    def alignment(self, *, pred: Any, target: Any) -> tuple[Array, Array]:
        """Floats of shape (*batch, time, classes) and integers of shape (*batch, labels)."""
        (pred,) = self.floats(pred=pred)
        problem = f"{self.function}: `pred` must be (..., time, classes), got {_describe(pred)}."
        _require(problem, chex.assert_shape, pred, (..., None, None))
        _require(problem, chex.assert_axis_dimension_gt, pred, -1, 0)
        shape = (*pred.shape[:-2], "labels")
        return pred, self._indices(shape, "class indices", target, "Pad what was concatenated.")

    def lengths(self, shape: tuple[int, ...], longest: int, **options: Any) -> Array:
        """Integer lengths in [0, longest]; None for the longest."""
        ((name, value),) = options.items()
        lengths = self.array(name, jnp.full(shape, longest, jnp.int32) if value is None else value)
        problem = f"{self.function}: `{name}` must hold integer lengths of shape {shape}, got {_describe(lengths)}."
        _require(problem, chex.assert_type, lengths, int)
        _require(problem, chex.assert_shape, lengths, shape)
        return _signed(lengths)

    def dense(self, *, pred: Any, kernel: Any, bias: Any) -> tuple[Array, Array, Array]:
        """Features (*batch, features), a kernel (features, classes) and a bias (classes,), 0 if None.

        They have one dtype, float32 or better, which the bias tells; but features and a kernel of one half precision
        stay what they are: their product is taken from that, in float32.
        """
        pred, kernel = self.array("pred", pred), self.array("kernel", kernel)
        half = pred.dtype == kernel.dtype and pred.dtype in (jnp.bfloat16, jnp.float16)
        given = pred, kernel
        (pred,), (kernel,) = self.floats(pred=pred), self.floats(kernel=kernel)
        problem = f"{self.function}: `pred` must have the features on its last axis, got {_describe(pred)}."
        _require(problem, chex.assert_shape, pred, (..., None))
        problem = (
            f"{self.function}: `kernel` must be floating, of shape (features, classes) = ({pred.shape[-1]}, classes), "
            f"got {_describe(kernel)}. PyTorch's is transposed."
        )
        _require(problem, chex.assert_shape, kernel, (pred.shape[-1], None))
        _require(problem, chex.assert_axis_dimension_gt, kernel, 1, 0)
        (bias,) = self.floats(bias=jnp.zeros(kernel.shape[1:], kernel.dtype) if bias is None else bias)
        problem = (
            f"{self.function}: `bias` must have one number a class, shape {kernel.shape[1:]}, got {_describe(bias)}."
        )
        _require(problem, chex.assert_shape, bias, kernel.shape[1:])
        dtype = max(pred.dtype, kernel.dtype, bias.dtype, key=lambda dtype: dtype.itemsize)
        return *(given if half else (pred.astype(dtype), kernel.astype(dtype))), bias.astype(dtype)

    def rows(self, size: int | None, meaning: str, **arrays: Any) -> tuple[Array, ...]:
        """Floating arrays of one shape whose last axis holds a row: `size` numbers, or any number if None."""
        checked = self.floats(**arrays)
        for name, array in zip(arrays, checked, strict=True):
            problem = f"{self.function}: `{name}` must have {meaning} on its last axis, got {_describe(array)}."
            _require(problem, chex.assert_shape, array, (..., size))
        return checked

    def mask(self, shape: tuple[int, ...], of: str = "the unreduced loss", **options: Any) -> Array | None:
        """Booleans, broadcast to `shape`; None stays None and costs nothing."""
        ((name, value),) = options.items()
        if value is None:
            return None
        where = self.array(name, value)
        problem = (
            f"{self.function}: `{name}` must be boolean and broadcast to {shape}, the shape of {of}, "
            f"got {_describe(where)}."
        )
        _require(f"{problem} Compare first: {name}={name} > 0.", chex.assert_type, where, bool)
        _require(problem, chex.assert_is_broadcastable, where.shape, shape)
        return jnp.broadcast_to(where, shape)

    def factor(self, shape: tuple[int, ...], dtype: Any, **options: Any) -> Array:
        """An option that multiplies: a number or numbers that broadcast to `shape`, at least 0."""
        ((name, value),) = options.items()
        array = self._numeric(name, value)
        problem = f"{self.function}: `{name}` must broadcast to {shape}, got {_describe(array)}."
        _require(problem, chex.assert_is_broadcastable, array.shape, shape)
        if array.ndim == 0:
            array = jnp.asarray(self.nonnegative(dtype, **options))
        elif array.size:
            self.check(jnp.all(array >= 0), f"`{name}` must be at least 0, got {{lowest}}.", lowest=array.min())
        return jnp.broadcast_to(array.astype(dtype), shape)

    def one_per_class(self, classes: int, dtype: Any, **options: Any) -> Array:
        """An option with a number at least 0 for each class."""
        ((name, value),) = options.items()
        array = self._numeric(name, value)
        problem = f"{self.function}: `{name}` must have one number a class, shape ({classes},), got {_describe(array)}."
        _require(problem, chex.assert_shape, array, (classes,))
        return self.factor((classes,), dtype, **options)

    def one_of(self, choices: Sequence[int], **options: Any) -> int:
        """An option that is one of a few Python integers, each of them another formula."""
        ((name, value),) = options.items()
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or value not in choices:
            named = " or ".join(map(str, choices))
            raise ValueError(f"{self.function}: `{name}` must be the Python integer {named}, got {value!r}.")
        return choices[choices.index(value)]

    def fractions(self, size: int, meaning: str, dtype: Any, **options: Any) -> Array:
        """An option with `size` numbers in [0, 1]."""
        ((name, value),) = options.items()
        array = self._numeric(name, value)
        problem = f"{self.function}: `{name}` must have {meaning}, shape ({size},), got {_describe(array)}."
        _require(problem, chex.assert_shape, array, (size,))
        self._check_range("values in [0, 1]", (array >= 0) & (array <= 1), "", **{name: array})
        return array.astype(dtype)

    def _numeric(self, name: str, value: Any) -> Array:
        array = self.array(name, value)
        problem = f"{self.function}: `{name}` must hold numbers, got {_describe(array)}."
        _require(problem, chex.assert_type, array, float if jnp.issubdtype(array.dtype, jnp.floating) else int)
        return array

    def count(self, **options: Any) -> int | None:
        """An option that is a number of things, a positive Python integer or None."""
        ((name, value),) = options.items()
        if value is None:
            return None
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value <= 0:
            raise ValueError(f"{self.function}: `{name}` must be a positive Python integer or None, got {value!r}.")
        return int(value)

    # Options that are numbers: a Python number out of its domain is an error at once, a traced one a value contract.

    def positive(self, dtype: Any, **options: Any) -> Any:
        return self._number(lambda value: value > 0, "greater than 0", dtype, options)

    def nonnegative(self, dtype: Any, **options: Any) -> Any:
        return self._number(lambda value: value >= 0, "at least 0", dtype, options)

    def degree(self, size: int, dtype: Any, **options: Any) -> Any:
        """The degree of a norm of `size` numbers; below the least one the norm of ones, size ** (1 / p), overflows."""
        least = math.log(max(size, 1)) / math.log(float(jnp.finfo(dtype).max))
        domain = f"greater than 0 and at least {least:.3g} for {size} features"
        return self._number(lambda value: (value > 0) & (value >= least), domain, dtype, options)

    def fraction(self, dtype: Any, **options: Any) -> Any:
        return self._number(lambda value: (value >= 0) & (value <= 1), "in [0, 1]", dtype, options)

    def cosine(self, dtype: Any, **options: Any) -> Any:
        return self._number(lambda value: (value >= -1) & (value <= 1), "in [-1, 1]", dtype, options)

    def any_number(self, dtype: Any, /, **options: Any) -> Any:
        return self._number(lambda value: value == value, "a number, not NaN", dtype, options)

    def _number(self, inside: Callable[[Any], Any], domain: str, dtype: Any, options: dict[str, Any]) -> Any:
        ((name, value),) = options.items()
        if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
            value = value.item()
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            if not inside(value):
                raise ValueError(f"{self.function}: `{name}` must be {domain}, got {value!r}.")
            return float(value)  # an integer has no tangent
        array = self._numeric(name, value)
        problem = f"{self.function}: `{name}` must be a number, {domain}, got {_describe(array)}."
        _require(problem, chex.assert_shape, array, ())
        self.check(inside(array), f"`{name}` must be {domain}, got {{value}}.", value=array)
        return array.astype(dtype)

    # Values, at run time, when asked for.

    def check(self, holds: Any, message: str, **values: Any) -> None:
        """A value contract; the arrays `values` are put into the message."""
        checkify.debug_check(jnp.asarray(holds), f"{self.function}: {message}", **values)

    def check_labels(self, target: Array, classes: int, hint: str = "") -> None:
        self._check_range(f"class indices in [0, {classes})", (target >= 0) & (target < classes), hint, target=target)

    def check_signs(self, hint: str = "", **arrays: Array) -> None:
        for name, array in arrays.items():
            self._check_range("-1 or 1", jnp.abs(array) == 1, hint, **{name: array})

    def check_lengths(self, longest: int, **arrays: Array) -> None:
        for name, lengths in arrays.items():
            self._check_range(
                f"lengths in [0, {longest}]", (lengths >= 0) & (lengths <= longest), "", **{name: lengths}
            )

    def check_probabilities(self, hint: str = "", **arrays: Array) -> None:
        for name, array in arrays.items():
            self._check_range("values in [0, 1]", (array >= 0) & (array <= 1), hint, **{name: array})

    def check_nonnegative(self, hint: str = "", **arrays: Array) -> None:
        for name, array in arrays.items():
            self._check_range("values at least 0", array >= 0, hint, **{name: array})

    def check_log_probabilities(self, hint: str = "", **arrays: Array) -> None:
        for name, array in arrays.items():
            # Among many classes all probabilities are near 0: what is never negative is no log-probability either.
            probabilities = jnp.all(array >= 0) & jnp.any(array > 1e-6)
            holds = (array <= _SUM_TOLERANCE) & ~probabilities
            self._check_range("log-probabilities, at most 0", holds, hint, **{name: array})

    def _check_range(self, needed: str, holds: Array, hint: str, **arrays: Array) -> None:
        ((name, array),) = arrays.items()
        if array.size:
            message = f"`{name}` must hold {needed}, got values from {{lowest}} to {{highest}}. {hint}".rstrip()
            self.check(jnp.all(holds), message, lowest=array.min(), highest=array.max())

    def check_distributions(self, target: Array, axis: int) -> None:
        self.check_probabilities(target=target)
        holds = jnp.all(jnp.abs(target.sum(axis) - 1) <= _SUM_TOLERANCE)
        self.check(holds, f"`target` must hold distributions that sum to 1 along axis {axis}.")

    def check_some_distribution(self, name: str, probabilities: Array) -> None:
        """Which axes form a distribution is unknown: the total must be the number of distributions for some choice."""
        choices = itertools.product(*({1, size} for size in probabilities.shape))
        counts = {math.prod(choice) for choice in choices} - ({probabilities.size} if probabilities.size > 1 else set())
        wrong = [jnp.abs(probabilities.sum() - count) > _SUM_TOLERANCE * count for count in sorted(counts)]
        if probabilities.size:
            holds = ~jnp.all(jnp.stack(wrong))
            self.check(holds, f"`{name}` must hold distributions, got values that sum to 1 over no axes.")

    def check_not_softmax(self, pred: Array, axis: int, where: Array | None) -> None:
        """The double softmax: logits that are, in every row, non-negative and sum to 1."""
        if pred.shape[axis] == 1 or not pred.size:
            return
        looks = (jnp.abs(pred.sum(axis) - 1) <= _SUM_TOLERANCE) & (pred.min(axis) >= 0)
        all_look = jnp.all(looks) if where is None else jnp.all(looks | ~where) & jnp.any(where)
        self.check(
            ~all_look,
            f"`pred` must hold logits, got probabilities: every row sums to 1 along axis {axis}. Drop the softmax from "
            "the model's output, or pass its logarithm.",
        )

    def check_not_sigmoid(self, pred: Array, where: Array | None) -> None:
        """The double sigmoid: many logits, none outside [0, 1], some near either end. Less than that proves nothing."""
        low, high = (jnp.min(pred), jnp.max(pred)) if pred.size else (jnp.inf, -jnp.inf)
        if where is not None:
            low = jnp.min(pred, initial=jnp.inf, where=where)
            high = jnp.max(pred, initial=-jnp.inf, where=where)
        many = pred.size >= 32 if where is None else where.sum() >= 32
        looks = many & (low >= 0) & (low < 0.1) & (high > 0.9) & (high <= 1)
        self.check(
            ~jnp.asarray(looks),
            "`pred` must hold logits, got values that fill [0, 1] and never leave it. Drop the sigmoid from the "
            "model's output.",
        )

    def check_boxes(self, **arrays: Array) -> None:
        for name, boxes in arrays.items():
            holds = jnp.all(boxes[..., :2] <= boxes[..., 2:])
            self.check(holds, f"`{name}` must hold boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2.")
