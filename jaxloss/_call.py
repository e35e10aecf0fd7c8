"""One call of a loss: its inputs are checked, masked and cast in one visit, and its values are reduced."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._contracts import Contract
from jaxloss._contracts.arrays import single_precision
from jaxloss._numerics.labels import take_per_class
from jaxloss._numerics.safe import expand_mask, fill_masked, nan_unless, safe_divide
from jaxloss._numerics.shards import Shard
from jaxloss._typing import AxisName
from jaxloss.reductions import ReductionOrBatchMean, count_of, is_mean, is_sum, on_axes, over_mesh, resolve

INDICES = "For class probabilities or one-hot targets use soft_target_cross_entropy."
ONE_HOT = "Turn one-hot targets into indices: target.argmax(axis)."
BINARY = "Binary targets are floats of the shape of the logits: target.astype(jnp.float32); for classes, cross_entropy."
SIGNS = "Targets are floats, -1 or 1: target.astype(jnp.float32); from 0 and 1: 2.0 * target - 1."
LIKELIHOODS = "Negative log-likelihoods want a minus sign, probabilities jnp.log."


class Labelled(NamedTuple):
    """Scores of classes, and the true class."""

    pred: Array
    target: Array
    axis: int


class Call(Contract):
    """What every loss begins and ends with.

    The first method that sees the arrays knows the shape of the unreduced loss. It checks `where` and `sample_weight`
    against that shape, and returns arrays with harmless numbers wherever these hide a loss. `reduce` is the exit.
    """

    def __init__(
        self,
        function: str,
        sample_weight: Any,
        where: Any,
        reduction: ReductionOrBatchMean,
        names: Sequence[str] = ("mean", "sum", "none"),
        class_axis_name: AxisName | None = None,
        axis_name: AxisName | None = None,
    ):
        super().__init__(function)
        # The axes of the mesh on which the rows lie that are compared with each other.
        self.axis_name = self.mesh_axes(axis_name=axis_name)
        reduction = on_axes(reduction, self.axis_name)
        # The axes of the mesh on which the classes lie; None where each device has them all.
        self.class_axis_name = self.mesh_axes(class_axis_name=class_axis_name)
        self._where, self._sample_weight = where, sample_weight
        self._reduce = resolve(function, reduction, names)
        self.is_mean, self.is_sum = is_mean(reduction), is_sum(reduction)
        self.over_mesh, self.count = over_mesh(reduction), count_of(reduction)
        # Which losses count, and how much; None if all do, or all count the same.
        self.keep: Array | None = None
        self.weights: Array | None = None

    # What comes in.

    def hide(self, shape: tuple[int, ...], dtype: Any, where: Any = None) -> None:
        """States the shape of the unreduced loss. A sample weight of 0 hides a loss, as the mask does."""
        self.dtype = dtype
        self.keep = self.mask(shape, where=self._where) if where is None else where
        if self._sample_weight is not None:
            self.weights = self.factor(shape, sample_weight=self._sample_weight)
            self.keep = self.weights != 0 if self.keep is None else self.keep & (self.weights != 0)

    def ignore(self, target: Array, ignore_index: Any) -> None:
        """Hides the labels that `ignore_index` names."""
        if ignore_index is None:
            return
        index = self.index(ignore_index=ignore_index)
        wide = jnp.promote_types(target.dtype, index.dtype)
        named = target.astype(wide) != index.astype(wide)
        self.keep = named if self.keep is None else self.keep & named

    def visible(self, fill: Any, *arrays: Array) -> tuple[Array, ...]:
        """Arrays of the unreduced loss's shape, or with more axes at the end, with `fill` where a loss is hidden."""
        if self.keep is None:
            return arrays
        more = arrays[0].ndim - self.keep.ndim
        return fill_masked(jnp.expand_dims(self.keep, tuple(range(-more, 0))) if more else self.keep, fill, *arrays)

    def elementwise(self, hint: str = "", /, *, fill: float = 0.0, **arrays: Any) -> tuple[Array, ...]:
        """Floats of the shape of the loss, in float32 or better."""
        checked = self.floats(hint, **arrays)
        self.hide(checked[0].shape, checked[0].dtype)
        return self.visible(fill, *checked)

    def log_probabilities(self, **arrays: Any) -> tuple[Array, ...]:
        """Log-probabilities of the shape of the loss."""
        checked = self.elementwise(**arrays)
        self.check_log_probabilities(LIKELIHOODS, **dict(zip(arrays, checked, strict=True)))
        return checked

    def elementwise_as_given(self, hint: str = "", /, *, fill: float = 0.0, **arrays: Any) -> tuple[Array, ...]:
        """The same, each in its own dtype: for a formula that casts as it reads, which XLA fuses."""
        checked = self.floats_as_given(hint, **arrays)
        self.hide(checked[0].shape, single_precision(checked[0]).dtype)
        return self.visible(fill, *checked)

    def binary_logits(self, *, pred: Any, target: Any) -> tuple[Array, Array]:
        """Logits and the probabilities of the positive class, one loss per element."""
        pred, target = self.elementwise(BINARY, pred=pred, target=target)
        target = self.probabilities(target=target)
        self.check_not_sigmoid(pred, self.keep)
        return pred, target

    def signed(self, *, target: Any, **scores: Any) -> tuple[Array, ...]:
        """Scores of one shape and targets of -1 and 1, one loss per element; the target comes last."""
        first = next(iter(scores))
        checked = self.floats(**scores)
        _, target = self.floats(SIGNS, **{first: checked[0], "target": target})
        self.hide(target.shape, target.dtype)
        checked, (target,) = self.visible(0.0, *checked), self.visible(1.0, target)
        return *checked, self.signs("From 0 and 1: 2 * target - 1.", target=target)

    def vectors(self, size: int | None, meaning: str, *, fill: Any = 0.0, **arrays: Any) -> tuple[Array, ...]:
        """Floats of one shape with a vector on the last axis, one loss per vector."""
        return tuple(map(single_precision, self.vectors_as_given(size, meaning, fill=fill, **arrays)))

    def vectors_as_given(self, size: int | None, meaning: str, *, fill: Any = 0.0, **arrays: Any) -> tuple[Array, ...]:
        """The same, in their own dtypes: for a formula of their entries, which are cast one by one."""
        checked = self.rows_as_given(size, meaning, **arrays)
        self.hide(checked[0].shape[:-1], single_precision(checked[0]).dtype)
        return self.visible(fill, *checked)

    def labelled(self, hint: str, axis: int, ignore_index: Any = None, *, pred: Any, target: Any) -> Labelled:
        """Logits with a class axis and class indices; a hidden row becomes class 0, with equal scores."""
        pred, target, axis = self.labelled_as_given(hint, axis, ignore_index, pred=pred, target=target)
        pred = single_precision(pred)
        self.check_not_softmax(pred, axis, self.keep, self.class_axis_name)
        return Labelled(pred, target, axis)

    def labelled_as_given(self, hint: str, axis: int, ignore_index: Any = None, *, pred: Any, target: Any) -> Labelled:
        """The same, of scores of any kind in their own dtype."""
        self.not_swapped(pred=pred, target=target)
        (pred,) = self.classes_as_given(axis, pred=pred)
        axis = self.axis(axis, pred.ndim)
        classes = self.count_classes(axis, pred=pred)
        target = self.class_indices(pred, axis, target, hint)
        self.hide(target.shape, single_precision(pred).dtype)
        self.ignore(target, ignore_index)
        (target,) = fill_masked(self.keep, 0, target)
        (pred,) = fill_masked(expand_mask(axis, self.keep), 0.0, pred)
        self.check_labels(target, classes)
        return Labelled(pred, target, axis)

    def labelled_features(
        self, hint: str, pred: Array, kernel: Array, target: Any, ignore_index: Any = None
    ) -> tuple[Array, Array, int]:
        """Features that enter a layer, class indices, and how many classes its kernel has; one loss a row of features.

        A hidden row becomes zeros of class 0.
        """
        target = self.class_indices(pred, pred.ndim - 1, target, hint)
        self.hide(target.shape, single_precision(pred).dtype)
        self.ignore(target, ignore_index)
        (target,), (pred,) = self.visible(0, target), self.visible(0.0, pred)
        return pred, target, self.count_classes(1, kernel=kernel)

    def count_classes(self, axis: int, **arrays: Array) -> int:
        """How many classes there are, on all devices together."""
        self.parts("class_axis_name", self.class_axis_name, **arrays)
        (array,) = arrays.values()
        return Shard(array.shape[axis], self.class_axis_name).total

    def dense(
        self,
        pred: Any,
        kernel: Any,
        bias: Any,
        feature_axes: AxisName | None = None,
        names: tuple[str, str, str] = ("pred", "kernel", "bias"),
    ) -> tuple[Array, Array, Array]:
        """Features (*batch, features), a kernel (features, classes) and a bias (classes,), 0 if None.

        They have one dtype, float32 or better, which the bias tells; but features and a kernel of one half precision
        stay what they are: their product is taken from that, in float32.
        """
        pred_name, kernel_name, bias_name = names
        pred, kernel = self.array(pred_name, pred), self.array(kernel_name, kernel)
        half = pred.dtype == kernel.dtype and pred.dtype in (jnp.bfloat16, jnp.float16)
        given = pred, kernel
        (pred,), (kernel,) = self.floats(**{pred_name: pred}), self.floats(**{kernel_name: kernel})
        self.require_shape(f"`{pred_name}` must have the features on its last axis", pred, (..., None))
        features = pred.shape[-1] if feature_axes is None else pred.shape[-1] // jax.lax.axis_size(feature_axes)
        problem = f"`{kernel_name}` must be floating, of shape (features, classes) = ({features}, classes)"
        self.require_shape(problem, kernel, (features, None), "PyTorch's is transposed.")
        self.require_classes(problem, kernel, 1)
        (bias,) = self.floats(**{bias_name: jnp.zeros(kernel.shape[1:], kernel.dtype) if bias is None else bias})
        self.require_shape(
            f"`{bias_name}` must have one number a class, shape {kernel.shape[1:]}", bias, kernel.shape[1:]
        )
        dtype = max(pred.dtype, kernel.dtype, bias.dtype, key=lambda dtype: dtype.itemsize)
        return *(given if half else (pred.astype(dtype), kernel.astype(dtype))), bias.astype(dtype)

    def numbers(self, *options: Any) -> tuple[Array, ...]:
        """Options as arrays, of the dtype in which the loss is computed."""
        return tuple(jnp.asarray(option, self.dtype) for option in options)

    def visible_factor(self, like: Array, **options: Any) -> Array:
        """An option that rescales each element of an array, 1 where the loss is hidden."""
        return fill_masked(self.keep, 1.0, self.factor(like.shape, **options))[0]

    # What goes out.

    def reduce(self, values: Array, weights: Array | None = None) -> Array:
        """Reduces the losses; the mean divides by the sum of the class `weights` times the sample weights."""
        if weights is not None:
            # A reduction hides a loss whose weight is 0. To keep a NaN loss visible, its weight becomes NaN.
            weights = weights * nan_unless(~jnp.isnan(values))
        return self._reduced(values, weights)

    def reduce_labels(self, losses: Array, target: Array, weight: Array | None, holds_weights: bool = False) -> Array:
        """Reduces the losses of labels, with the weights of their classes, which the losses may already include."""
        if weight is None:
            return self.reduce(losses)
        weights = take_per_class(weight, target, self.class_axis_name)
        if not holds_weights:
            return self.reduce(losses, weights)
        return self.reduce_weighed(losses, weights)

    def reduce_weighed(self, losses: Array, weights: Array) -> Array:
        """Reduces losses that hold their weights already: the mean divides by the sum of these."""
        total = self.reduce(losses)
        return safe_divide(total, self.reduce(weights)) if self.is_mean and self.count is None else total

    def scale_of_mean(self, weights: Array) -> Array:
        """One by the given count, or by the sum of the weights of what counts: a mean is the sum times this."""
        one = jnp.ones((), weights.dtype)
        if self.count is not None:
            return safe_divide(one, jnp.asarray(self.nonnegative(count=self.count), one.dtype))
        weights = weights if self.weights is None else weights * self.weights
        return safe_divide(one, self.over_mesh(jnp.sum(weights, where=self.keep)))

    @property
    def counts(self) -> Array | None:
        """Whether each loss counts, or how much; None if all do."""
        return self.keep if self.weights is None else fill_masked(self.keep, 0.0, self.weights)[0]

    def _reduced(self, values: Array, weights: Array | None) -> Array:
        if weights is None:
            return self._reduce(values, self.counts)
        weights = weights if self.weights is None else weights * self.weights
        return self._reduce(values, fill_masked(self.keep, 0.0, weights)[0])
