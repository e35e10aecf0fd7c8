"""What a loss needs of the logits of a token, by blocks of classes, with passes of their own for the derivatives."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from jaxloss._kernels.linear_cross_entropy.layer import Layer, along_last
from jaxloss._kernels.linear_cross_entropy.layout import Layout
from jaxloss._numerics.cross_entropy import all_zero
from jaxloss._numerics.loops import finite, repeat, zeros_like
from jaxloss._numerics.passes import Passes, by_passes
from jaxloss._numerics.safe import safe_multiply
from jaxloss._numerics.shards import sum_over, varying_together
from jaxloss._numerics.xla import UPDATES_BFLOAT16_IN_PLACE, stay_in_loop


class Sums(NamedTuple):
    """The logit of the label, log sum exp of the others, and the weighted sum of all, over which smoothing spreads.

    And the entropy of the others among themselves, a sum in which no term is negative; None if nobody asks for it.
    """

    own: Array
    log_others: Array
    weighted: Array
    entropy: Array | None = None


class Head(NamedTuple):
    """What the sums are differentiated to."""

    kernel: Array
    arrays: dict[str, Array]
    pred: Array


def class_sums(layer: Layer, kernel: Array, arrays: dict[str, Array], pred: Array, target: Array) -> Sums:
    """Of tokens (*batch, features), by four products a block: the logits once for the value, once for the gradient.

    Nothing of the size of the kernel is held but its gradient, in its own dtype. On a mesh a device has some classes,
    and of each some features, which are gathered block by block, as the gradient of a block is scattered.
    """
    arrays = {name: array for name, array in arrays.items() if name in _OF_LOGITS}
    if layer.layout is not None:
        return by_passes(_PASSES_ON_MESH, layer, Head(kernel, arrays, pred), target)
    shard, shape = layer.shard, target.shape
    if shard.axis_name is not None:
        pred = pred.astype(layer.dtype)  # In which the devices add up its gradient.
    *head, target = varying_together(
        (kernel, arrays, pred.reshape(target.size, pred.shape[-1]), shard.local(target.reshape(-1)))
    )
    sums = _added_up(layer, by_passes(_PASSES, layer, Head(*head), target))
    return jax.tree.map(lambda each: each.reshape(shape), sums)


# What is differentiated beside the kernel and the features.
_OF_LOGITS = "bias", "weight", "softcap", "padding", "temperature"


def _added_up(layer: Layer, sums: Sums) -> Sums:
    """Over the devices that have classes of the same tokens."""
    shard = layer.shard
    if shard.axis_name is None:
        return sums
    largest = finite(shard.largest(sums.log_others))
    others = jnp.exp(sums.log_others - largest)
    parts = sums.own, others, sums.weighted
    if sums.entropy is not None:
        parts = *parts, others * (sums.entropy + jnp.where(others == 0, 0.0, largest - sums.log_others))
    own, others, *more = _summed(layer, parts)
    return _sums(jnp.where(others == 0, -jnp.inf, largest), own, others, *more)


def _sums(log_scale: Array, own: Array, others: Array, weighted: Array, below: Array | None = None) -> Sums:
    """From sum_j exp(z_j - s) of the others, and for their entropy sum_j exp(z_j - s) (s - z_j), with s the scale."""
    others = jnp.where(others == 0, 1.0, others)
    return Sums(own, log_scale + jnp.log(others), weighted, None if below is None else jnp.log(others) + below / others)


def _summed(layer: Layer, parts: Sequence[Array]) -> tuple[Array, ...]:
    """In one collective, of what is needed."""
    own, others, _, *more = parts
    if all_zero(layer.numbers.smoothing):
        own, others, *more = layer.shard.sums(own, others, *more)
        return own, others, jnp.zeros_like(own), *more
    return layer.shard.sums(*parts)


class _Block(NamedTuple):
    """The classes of a step: what is taken of an array that has them last, and put there."""

    layer: Layer
    first: Array
    size: int
    columns: Array
    arrays: dict[str, Array]
    # Which are the labels; and which were in no block before: the last begins with classes of the one before it.
    is_label: Array
    is_new: Array

    def put(self, whole: Array, part: Array) -> Array:
        """Adds a part to a sum."""
        if not part.ndim:
            return whole + part
        part = part + jax.lax.dynamic_slice_in_dim(whole, self.first, self.size, axis=-1)
        return jax.lax.dynamic_update_slice_in_dim(whole, part, self.first, axis=-1)

    def sums(
        self, product: Array, arrays: dict[str, Array], log_scale: Array, entropy: Array | None = None
    ) -> tuple[Array, ...]:
        """Of these classes: the label's logit, the exponentials of the others by a scale, the weighted logits.

        For the entropy of the others a fourth; where that is known, a sum whose first derivative is the entropy's.
        """
        logits = self.layer.logits(product, arrays)
        others = jnp.where(self.is_label | ~self.is_new, -jnp.inf, logits)
        weighted = jnp.zeros_like(logits[:, :0])
        if not all_zero(self.layer.numbers.smoothing):
            share = self.is_new.astype(logits.dtype)
            share = along_last(arrays["weight"], logits) * share if "weight" in arrays else share
            weighted = safe_multiply(share, logits)
        own = jnp.where(self.is_label & self.is_new, logits, 0.0)
        log_scale = finite(log_scale)[:, None]
        exponentials = jnp.exp(others - log_scale)
        parts = own, exponentials, weighted
        if self.layer.with_entropy:
            below = jnp.where(others == -jnp.inf, 0.0, log_scale - others)
            if entropy is not None:  # Its slope has no terms that cancel.
                slope = jax.lax.stop_gradient(exponentials * (below - entropy[:, None]))
                parts = *parts, safe_multiply(slope, others)
            else:
                parts = *parts, exponentials * below
        return tuple(part.sum(-1) for part in parts)


def _block(layer: Layer, head: Head, target: Array, step: Array) -> _Block:
    classes = layer.classes
    size = -(-classes // layer.blocks_of_classes)
    first = jnp.minimum(step * size, classes - size)
    take = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=size, axis=-1)
    columns = layer.whole(stay_in_loop(take(head.kernel), step)).astype(layer.operand)
    index = (first + jnp.arange(size, dtype=first.dtype))[None]
    arrays = {name: take(array) if array.ndim else array for name, array in head.arrays.items()}
    is_label = target[:, None] == index.astype(target.dtype)
    return _Block(layer, first, size, columns, arrays, is_label, index >= step * size)


def _zeros(like: Any, dtype: Any, target: Array) -> Any:
    """What a loop adds to, on the devices on which the tokens lie."""
    return jax.tree.map(lambda array: zeros_like(array, dtype, 0 * jnp.sum(target[:1])), like)


def _value(layer: Layer, head: Head, target: Array) -> Sums:
    tokens = head.pred.astype(layer.operand)

    def add(step: Array, state: Any) -> Any:
        largest, (own, others, weighted, *below) = state
        block = _block(layer, head, target, step)
        product = layer.product(tokens, block.columns)
        seen = jnp.where(block.is_label, -jnp.inf, layer.logits(product, block.arrays)).max(-1)
        grown = jnp.maximum(largest, seen)
        more = block.sums(product, block.arrays, grown)
        ratio = jnp.exp(largest - finite(grown))
        distance = jnp.where(largest == -jnp.inf, 0.0, grown - largest)
        below = tuple(ratio * (part + others * distance) + more[3] for part in below)
        return grown, (own + more[0], others * ratio + more[1], weighted + more[2], *below)

    each = _zeros(target, layer.dtype, target)
    largest, parts = repeat(layer.blocks_of_classes, add, (each - jnp.inf, (each,) * layer.parts))
    sums = _sums(largest, *parts)
    return _added_up(layer, sums) if layer.layout else sums


def _definition(layer: Layer, head: Head, target: Array, known: Sums) -> Sums:
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def sums(step: Array, head: Head) -> tuple[Array, ...]:
        block = _block(layer, head, target, step)
        return block.sums(layer.product(head.pred.astype(layer.operand), block.columns), block.arrays, known.log_others)

    def add(step: Array, state: Any) -> Any:
        return jax.tree.map(jnp.add, state, sums(step, head))

    each = _zeros(target, layer.dtype, target)
    parts, log_scale = repeat(layer.blocks_of_classes, add, (each,) * layer.parts), known.log_others
    if layer.layout:
        parts = _summed(layer, parts)
        log_scale = layer.shard.largest(log_scale)  # The same everywhere, and now known to be.
    return _sums(log_scale, *parts)


def _forward(layer: Layer, head: Head, target: Array, known: Sums, dots: Any) -> Sums:
    dots, tokens = Head(*dots), head.pred.astype(layer.operand)

    def add(step: Array, state: Any) -> Any:
        block = _block(layer, head, target, step)
        product, product_dot = layer.product(tokens, block.columns), jnp.zeros((), layer.dtype)
        if dots.pred is not None:
            product_dot += layer.product(dots.pred.astype(layer.operand), block.columns)
        if dots.kernel is not None:
            columns_dot = _block(layer, head._replace(kernel=dots.kernel), target, step).columns
            product_dot += layer.product(tokens, columns_dot)
        moving = {name: dot for name, dot in dots.arrays.items() if dot is not None}
        arrays_dot = _block(layer, head._replace(arrays=moving), target, step).arrays

        def sums(product: Array, some: dict[str, Array]) -> tuple[Array, ...]:
            return block.sums(product, block.arrays | some, known.log_others, known.entropy)

        at = {name: block.arrays[name] for name in moving}
        product_dot = jnp.broadcast_to(product_dot, product.shape)
        return jax.tree.map(jnp.add, state, jax.jvp(sums, (product, at), (product_dot, arrays_dot))[1])

    each = _zeros(target, layer.dtype, target)
    sums = repeat(layer.blocks_of_classes, add, (each,) * layer.parts)
    return Sums(*(_summed(layer, sums) if layer.layout else sums))


def _backward(layer: Layer, head: Head, target: Array, known: Sums, cotangents: Sums) -> Head:
    tokens = head.pred.astype(layer.operand)
    # Inside the loop XLA:CPU would take the transpose into the product, too late to see that it has none such.
    transposed = tokens.T

    def add(step: Array, sums: Head) -> Head:
        block = _block(layer, head, target, step)

        def weighed(product: Array, arrays: dict[str, Array]) -> Array:
            sums = block.sums(product, arrays, known.log_others, known.entropy)
            return jnp.sum(jnp.stack(jax.tree.leaves(cotangents)) * jnp.stack(sums))

        product = layer.product(tokens, block.columns)
        gradient, array_parts = jax.grad(weighed, (0, 1))(product, block.arrays)
        gradient = gradient.astype(layer.operand)
        kernel_part = layer.product(transposed, gradient).astype(sums.kernel.dtype)
        if layer.feature_axis_name is not None:
            kernel_part = jax.lax.psum_scatter(kernel_part, layer.feature_axis_name, scatter_dimension=0, tiled=True)
        pred_part = jax.lax.dot_general(
            gradient,
            block.columns,
            (((1,), (1,)), ((), ())),
            precision=layer.precision,
            preferred_element_type=layer.dtype,
        )
        return Head(
            block.put(sums.kernel, kernel_part),
            jax.tree.map(block.put, sums.arrays, array_parts),
            sums.pred + pred_part,
        )

    kernel_dtype = head.kernel.dtype if UPDATES_BFLOAT16_IN_PLACE else layer.dtype
    zeros = Head(_zeros(head.kernel, kernel_dtype, target), *_zeros(head[1:], layer.dtype, target))
    gradients = repeat(layer.blocks_of_classes, add, zeros)
    if layer.layout:
        gradients = _added_up_gradients(layer, layer.layout, gradients)
    return jax.tree.map(lambda gradient, array: gradient.astype(array.dtype), gradients, head)


def _added_up_gradients(layer: Layer, layout: Layout, gradients: Head) -> Head:
    """Once, over the devices that have other tokens, or other classes."""
    replicas = tuple(name for name in layout.tokens if name not in layout.features)
    arrays = {
        name: sum_over(layout.tokens + (() if array.ndim else layout.classes) or None, array)[0]
        for name, array in gradients.arrays.items()
    }
    return Head(sum_over(replicas or None, gradients.kernel)[0], arrays, layer.shard.sum(gradients.pred))


_PASSES = Passes(_value, _definition, _forward, _backward)


# On a mesh, the same of arrays that are whole to the caller: each pass is a `shard_map`.


def _on_mesh(function: Callable[..., Any], layer: Layer, head: Head, target: Array, *more: Any) -> Any:
    layout = layer.layout
    assert layout is not None

    def local(head: Head, target: Array, *more: Any) -> Any:
        batch = target.shape
        head, target, *others = varying_together(tuple(map(_with_one_axis, (head, target, *more))))
        result = function(layer, head, layer.shard.local(target), *others)
        if isinstance(result, Head):
            return result._replace(pred=result.pred.reshape(*batch, result.pred.shape[-1]))
        return jax.tree.map(lambda each: each.reshape(batch), result)

    def specs(argument: Any) -> Any:
        if isinstance(argument, Head):
            return Head(*layout.specs(*argument, None)[:3])
        return jax.tree.map(lambda _: P(*layout.batch), argument)

    arguments = head, target, *more
    result = head if function is _backward else Sums(*(target,) * layer.parts)
    in_specs = tuple(map(specs, arguments))
    return jax.shard_map(local, mesh=layout.mesh, in_specs=in_specs, out_specs=specs(result))(*arguments)


def _with_one_axis(argument: Any) -> Any:
    """Of tokens."""
    if isinstance(argument, Head):
        *batch, features = argument.pred.shape
        return argument._replace(pred=argument.pred.reshape(math.prod(batch), features))
    return jax.tree.map(jnp.ravel, argument)


def _forward_on_mesh(layer: Layer, head: Head, target: Array, known: Sums, dots: Any) -> Sums:
    at = jax.tree.map(
        lambda dot, array: jnp.zeros_like(array) if dot is None else dot, Head(*dots), head, is_leaf=_is_none
    )
    return _on_mesh(_forward, layer, head, target, known, at)


def _is_none(leaf: Any) -> bool:
    return leaf is None


_PASSES_ON_MESH = Passes(
    functools.partial(_on_mesh, _value),
    functools.partial(_on_mesh, _definition),
    _forward_on_mesh,
    functools.partial(_on_mesh, _backward),
)
