"""A dense layer and the cross-entropy of its logits, which never exist all at once.

`layer`: the formula, of arrays. `layout`: blocks, and where they lie on a mesh. Two algorithms: `by_classes`, the sums
of each token with their derivatives; and `by_tokens`, the sum of the losses, whose gradient `fused` forms with it.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.export import is_symbolic_dim

from jaxloss._call import Call
from jaxloss._contracts.arrays import single_precision
from jaxloss._kernels.linear_cross_entropy.by_classes import Sums, class_sums
from jaxloss._kernels.linear_cross_entropy.fused import How, sum_by_tokens
from jaxloss._kernels.linear_cross_entropy.layer import Layer, Options
from jaxloss._kernels.linear_cross_entropy.layout import (
    Layout,
    blocks_of_classes,
    blocks_of_tokens,
    explicit_layout,
    fits_blocks_of_classes,
    in_blocks,
    in_lanes,
    out_of_blocks,
    placed,
    side_by_side,
)
from jaxloss._kernels.linear_cross_entropy.loops import loss_of_each_token
from jaxloss._kernels.linear_cross_entropy.own_column import own_sine
from jaxloss._numerics.angles import sine_by_cosine
from jaxloss._numerics.labels import is_class, take_per_class
from jaxloss._numerics.logistic import entropy_with_others
from jaxloss._numerics.loops import lanes_of
from jaxloss._numerics.norms import row_lengths, unit_rows
from jaxloss._numerics.safe import nan_unless
from jaxloss._typing import AxisName


class Blocks(NamedTuple):
    """How the logits are cut, and where the arrays lie."""

    kind: str | None  # "tokens", "classes", or None for what suits the layout and the dtype.
    chunk_size: int | None
    precision: Any
    padded: int
    feature_axis_name: AxisName | None  # Inside `shard_map`.
    layout: Layout | None  # On an automatic mesh.


def linear_cross_entropy_in_blocks(
    call: Call, pred: Array, kernel: Array, target: Array, options: Options, blocks: Blocks
) -> Array:
    """The reduced loss."""
    layer, kernel, arrays, pred, target = _placed(call, pred, kernel, target, options, blocks)
    layout = layer.layout
    lanes = 1 if layout else lanes_of(pred)
    weight, arguments = arrays.get("weight"), (kernel, arrays, pred, target)

    if layout is None and _is_small(layer, blocks_of_tokens(target.size // lanes, blocks.chunk_size)[0]):
        losses = layer.losses(layer.product(pred, kernel), arrays, target)
    elif _takes_classes(call, layer, blocks.kind, lanes, pred, kernel):
        layer, sums = _sums_by_classes(layer, _blocks_of_chunks(target, blocks.chunk_size), *arguments)
        losses = layer.losses_of_sums(sums, arrays, target)
    elif call.is_mean or call.is_sum:
        if call.is_mean or call.count is not None:  # The sum times a scale.
            weights = jnp.ones(target.shape, layer.dtype) if weight is None else take_per_class(weight, target)
            arrays = arrays | {"scale": call.scale_of_mean(weights)}
        how = How(layer, blocks.chunk_size, lanes)
        counts = None if call.counts is None else placed(layout, kernel, arrays, pred, call.counts)[-1]
        return call.over_mesh(sum_by_tokens(how, kernel, arrays, pred, target, counts))
    else:
        losses = _losses_by_tokens(layer, blocks.chunk_size, lanes, *arguments)
    return call.reduce_labels(losses, target, weight, layer.holds_weights)


def token_log_probs_in_blocks(
    call: Call, pred: Array, kernel: Array, target: Array, options: Options, blocks: Blocks, with_entropy: bool
) -> Array | tuple[Array, Array]:
    """Of each token the log-probability of the label, and if asked for a pair with the entropy."""
    layer, kernel, arrays, pred, target = _placed(call, pred, kernel, target, options, blocks)
    layer = layer._replace(with_entropy=with_entropy)
    layer, sums = _sums_by_classes(layer, _blocks_of_chunks(target, blocks.chunk_size), kernel, arrays, pred, target)
    log_probs = -layer.losses_of_sums(sums, {}, target)
    if sums.entropy is None:
        return call.reduce(log_probs)
    is_label = nan_unless(is_class(target, layer.shard.total - layer.padded))
    entropy = entropy_with_others(sums.own - sums.log_others, sums.entropy) * is_label
    return call.reduce(log_probs), call.reduce(entropy)


class CosineSums(NamedTuple):
    """Of a row the cosine to the proxy of its label, its sine if asked for, and log sum exp of the others' logits."""

    own: Array
    sine: Array | None
    log_others: Array


def cosine_sums_in_blocks(
    call: Call,
    pred: Array,
    kernel: Array,
    target: Array,
    scale: Array,
    chunk_size: int | None,
    precision: Any,
    with_sine: bool = False,
) -> CosineSums:
    """Of rows and a kernel of any length, whose logits are cosines times the scale.

    No copy of the kernel is normalised: the temperature of a class is the length of its proxy by the scale.
    """
    wide = single_precision(kernel)
    # There and back, so that the gradients of the lengths and of the products add up before they are rounded.
    kernel, lengths = wide.astype(kernel.dtype), row_lengths(wide.T)
    temperature = jnp.where(lengths == 0, jnp.inf, lengths / scale)
    options = Options(bias=jnp.zeros_like(temperature), temperature=temperature)
    blocks = Blocks("classes", None, precision, 0, None, None)
    layer, kernel, arrays, units, target = _placed(
        call, unit_rows(single_precision(pred)), kernel, target, options, blocks
    )
    sine = own_sine(layer, kernel, units, target) if with_sine else None
    chunks = None if chunk_size is None else -(-layer.classes // chunk_size)
    layer, sums = _sums_by_classes(layer, chunks, kernel, arrays, units, target)
    own = sums.own / scale * nan_unless(is_class(target, layer.shard.total))
    return CosineSums(own, None if sine is None else sine_by_cosine(own, sine), sums.log_others)


def _placed(
    call: Call, pred: Array, kernel: Array, target: Array, options: Options, blocks: Blocks
) -> tuple[Layer, Array, dict[str, Array], Array, Array]:
    """The layer, and the kernel, the arrays among the options, the features and the labels, where the mesh has them."""
    if options.softcap is not None and not isinstance(options.softcap, Array) and math.isinf(options.softcap):
        options = options._replace(softcap=None)
    # Arrays are differentiated; a number that Python knows to be 0 costs nothing.
    arrays = {name: value for name, value in options._asdict().items() if isinstance(value, Array)}
    numbers = options._replace(**dict.fromkeys(arrays))
    layer = Layer(numbers, kernel.shape[1], options.bias.dtype, blocks.padded, blocks.precision)
    layout = blocks.layout or explicit_layout(pred, kernel)
    if layout is not None:
        layer = layer._replace(
            class_axis_name=layout.classes or None,
            feature_axis_name=layout.features or None,
            classes=layer.classes // layout.size(layout.classes),
            layout=layout,
        )
        kernel, arrays, pred, target = placed(layout, kernel, arrays, pred, target)
    else:
        layer = layer._replace(class_axis_name=call.class_axis_name, feature_axis_name=blocks.feature_axis_name)
    return layer, kernel, arrays, pred, target


def _takes_classes(call: Call, layer: Layer, chosen: str | None, lanes: int, pred: Array, kernel: Array) -> bool:
    """Blocks of tokens take three products and not four; blocks of classes need no whole kernel, nor a sum of it."""
    is_summed = call.is_mean or call.is_sum
    needs_classes = layer.class_axis_name is not None or (layer.layout is not None and not is_summed)
    if chosen == "tokens" and needs_classes:
        raise ValueError(
            f'{call.function}: `blocks` must be "classes" or None where the classes are sharded, and on a mesh for '
            'reductions other than "mean" and "sum", got "tokens".'
        )
    if chosen is not None:
        return chosen == "classes"
    # In lanes the kernel may be sharded, nobody knows how.
    is_sharded = needs_classes or layer.feature_axis_name is not None
    return is_sharded or (lanes == 1 and fits_blocks_of_classes(pred, kernel))


def _is_small(layer: Layer, blocks: Any) -> bool:
    """Whether one block would do, of a kernel that is whole."""
    is_whole = layer.class_axis_name is None and layer.feature_axis_name is None
    return is_whole and not is_symbolic_dim(blocks) and blocks <= 1


def _blocks_of_chunks(target: Array, chunk_size: int | None) -> Any:
    """How many blocks are as large as the logits of `chunk_size` tokens each; None for the default."""
    return blocks_of_tokens(target.size, chunk_size)[0] if chunk_size else None


def _sums_by_classes(
    layer: Layer, blocks: Any, kernel: Array, arrays: Any, pred: Array, target: Array
) -> tuple[Layer, Sums]:
    """And the layer to which they belong."""
    layer = layer._replace(
        blocks_of_classes=blocks_of_classes(layer.classes, blocks),
        operand=jnp.bfloat16 if pred.dtype == kernel.dtype == jnp.bfloat16 else layer.dtype,
    )
    sums = class_sums(layer, kernel, arrays, pred, target)
    if layer.layout is not None:  # The sums are whole again.
        layer = layer._replace(classes=kernel.shape[1], class_axis_name=None)
    return layer, sums


def _losses_by_tokens(
    layer: Layer, chunk_size: int | None, lanes: int, kernel: Array, arrays: Any, pred: Array, target: Array
) -> Array:
    kernel, tokens = layer.whole(kernel), target.size // lanes
    blocks, size = blocks_of_tokens(tokens, chunk_size)
    blocked = (in_blocks(array, target.ndim, lanes, blocks, size) for array in (pred, target))
    shared = jax.tree.map(functools.partial(in_lanes, lanes=lanes), (kernel, arrays))
    losses = side_by_side(lanes, functools.partial(loss_of_each_token, layer.losses, layer))(*shared, *blocked)
    return out_of_blocks(losses.reshape(lanes, size, blocks), target.shape)
