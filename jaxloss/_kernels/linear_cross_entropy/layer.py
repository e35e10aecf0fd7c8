"""The last layer of a model and the losses of its logits, as functions of arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss import reductions
from jaxloss._kernels.linear_cross_entropy.layout import Layout
from jaxloss._numerics.cross_entropy import all_zero, label_losses, label_losses_of_sums
from jaxloss._numerics.labels import take_per_class
from jaxloss._numerics.safe import fill_masked, nan_unless
from jaxloss._numerics.shards import Shard
from jaxloss._numerics.softmax import softcapped, tempered
from jaxloss._typing import AxisName


class Options(NamedTuple):
    bias: Any
    weight: Any = None
    smoothing: Any = 0.0
    z_loss: Any = 0.0
    softcap: Any = None
    padding: Any = None  # 0, or -inf where a class does not exist.
    temperature: Any = 1.0  # Or one a class.
    # Of the sum. The gradient of the kernel is scaled as it grows: a pass of its own would need a second one.
    scale: Any = 1.0


class Layer(NamedTuple):
    """The last layer, and what follows it, as functions of arrays. What it holds is known to Python, no array."""

    numbers: Options  # None where there is an array, or nothing.
    classes: int  # Of this device.
    dtype: Any
    padded: int = 0  # How many of the last classes of all are none.
    precision: Any = None  # Of the products, as `jax.lax.dot` takes it.
    blocks_of_classes: int = 0  # 0: blocks are of tokens.
    operand: Any = None  # The dtype of what is multiplied by blocks of classes.
    with_entropy: bool = False  # Whether blocks of classes sum what the entropy needs.
    # The mesh axes, inside `shard_map`, on which the classes of the kernel lie, and its features.
    class_axis_name: AxisName | None = None
    feature_axis_name: AxisName | None = None
    layout: Layout | None = None  # Of arrays that are whole to the caller; None inside his `shard_map`.

    @property
    def parts(self) -> int:
        """How many sums of a token blocks of classes add up."""
        return 3 + self.with_entropy

    @property
    def shard(self) -> Shard:
        return Shard(self.classes, self.class_axis_name)

    def whole(self, part: Array) -> Array:
        """All features of some classes."""
        if self.feature_axis_name is None:
            return part
        return jax.lax.all_gather(part, self.feature_axis_name, axis=0, tiled=True)

    def product(self, x: Array, y: Array) -> Array:
        return jnp.matmul(x, y, precision=self.precision, preferred_element_type=self.dtype)

    def logits(self, product: Array, arrays: dict[str, Array]) -> Array:
        options = self.numbers._replace(**arrays)
        logits = product + along_last(options.bias, product)
        logits = logits if options.softcap is None else softcapped(logits, options.softcap)
        temperature = options.temperature
        logits = tempered(logits, along_last(temperature, logits) if jnp.ndim(temperature) else temperature)
        return logits if options.padding is None else logits + along_last(options.padding, logits)

    def losses(self, product: Array, arrays: dict[str, Array], target: Array) -> Array:
        logits, options = self.logits(product, arrays), self.numbers._replace(**arrays)
        added = options.weight, options.smoothing, options.z_loss
        return label_losses(logits, target, product.ndim - 1, *added, padded=self.padded)

    @property
    def holds_weights(self) -> bool:
        """Whether the class weights are in the losses already."""
        return not all_zero(self.numbers.smoothing, self.numbers.z_loss)

    def sum(self, losses: Array, arrays: dict[str, Array], target: Array, counts: Array | None) -> Array:
        """Of a block; `counts` say whether, or how much, each token counts."""
        scale = self.numbers._replace(**arrays).scale
        if "weight" not in arrays or self.holds_weights:
            return scale * reductions.sum(losses, counts)
        weights = take_per_class(arrays["weight"], target) * nan_unless(~jnp.isnan(losses))
        if counts is not None:
            weights = fill_masked(counts != 0, 0.0, weights * counts)[0]
        return scale * reductions.sum(losses, weights)

    def block_sum(self, product: Array, arrays: dict[str, Array], target: Array, counts: Array | None) -> Array:
        return self.sum(self.losses(product, arrays, target), arrays, target, counts)

    def losses_of_sums(self, sums: Any, arrays: dict[str, Array], target: Array) -> Array:
        options = self.numbers._replace(**arrays)
        added = options.weight, options.smoothing, options.z_loss
        return label_losses_of_sums(sums[:3], target, self.shard, *added, self.padded)


def along_last(per_class: Array, like: Array) -> Array:
    return jnp.expand_dims(per_class, range(like.ndim - 1))
