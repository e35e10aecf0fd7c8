"""The last layer of a model and the losses of its logits, as functions of arrays."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import reductions
from jaxloss._numerics.cross_entropy import all_zero, label_losses, label_losses_of_sums
from jaxloss._numerics.labels import take_per_class
from jaxloss._numerics.safe import fill_masked, nan_unless


class Options(NamedTuple):
    bias: Any
    weight: Any
    smoothing: Any
    z_loss: Any
    softcap: Any
    # Of the sum. The gradient of the kernel is scaled as it grows: a pass of its own would need a second one.
    scale: Any = 1.0


class Layer(NamedTuple):
    """The last layer, and what follows it, as functions of arrays. What it holds is known to Python, no array."""

    numbers: Options  # None where there is an array, or nothing.
    classes: int
    dtype: Any
    precision: Any = None  # Of the products, as `jax.lax.dot` takes it.
    blocks_of_classes: int = 0  # 0: blocks are of tokens.

    def product(self, x: Array, y: Array) -> Array:
        return jnp.matmul(x, y, precision=self.precision, preferred_element_type=self.dtype)

    def logits(self, product: Array, arrays: dict[str, Array]) -> Array:
        options = self.numbers._replace(**arrays)
        logits = product + along_last(options.bias, product)
        return logits if options.softcap is None else _capped(logits, options.softcap)

    def losses(self, product: Array, arrays: dict[str, Array], target: Array) -> Array:
        logits, options = self.logits(product, arrays), self.numbers._replace(**arrays)
        return label_losses(logits, target, product.ndim - 1, options.weight, options.smoothing, options.z_loss)

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

    def sum_of_sums(self, sums: Any, arrays: dict[str, Array], target: Array, counts: Array | None) -> Array:
        options = self.numbers._replace(**arrays)
        added = options.weight, options.smoothing, options.z_loss
        values = label_losses_of_sums(sums, target, self.classes, *added)
        return self.sum(values, arrays, target, counts)


def along_last(per_class: Array, like: Array) -> Array:
    return jnp.expand_dims(per_class, range(like.ndim - 1))


def _capped(logits: Array, cap: ArrayLike) -> Array:
    """c tanh(x / c). From a cap of this power of two on it is x, to the last digit."""
    cap = jnp.minimum(cap, 2.0 ** (jnp.finfo(logits.dtype).maxexp // 2))
    return cap * jnp.tanh(logits / cap)
