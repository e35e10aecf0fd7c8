"""Language models: large vocabularies."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import max_dim
from jax.custom_derivatives import SymbolicZero
from jax.export import is_symbolic_dim
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import ArrayLike, Bool, Float, Int

from jaxloss._contracts import Contract
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics import divide, expand, fill_hidden, is_explicitly_sharded, take_class, weigh
from jaxloss.classification import (
    INDICES,
    all_zero,
    ignored,
    index_losses,
    index_losses_of_sums,
    reduce_index_losses,
)
from jaxloss.reductions import Reduction, is_mean, is_sum, resolve


@compiled_when_eager
def linear_cross_entropy(
    pred: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features classes"],
    target: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " classes"] | None = None,
    weight: Float[ArrayLike, " classes"] | None = None,
    ignore_index: Int[ArrayLike, ""] | int | None = None,
    label_smoothing: Float[ArrayLike, ""] | float = 0.0,
    z_loss: Float[ArrayLike, ""] | float = 0.0,
    logit_softcap: Float[ArrayLike, ""] | float | None = None,
    chunk_size: int | None = None,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""A dense layer and the cross-entropy of its logits, which never exist all at once:

        logits = softcap(pred @ kernel + bias), softcap(x) = c tanh(x / c)
        loss   = cross_entropy(logits, target) + z_loss log(sum_c exp(logits_c))^2

    Only the logits of `chunk_size` tokens exist at a time, and their gradient: exact, in about 1/64 of the memory. For
    "mean" and "sum" (the functions of `jaxloss.reductions` too) the gradient of a block is formed together with its
    loss, in three matrix products as without blocks. Other reductions compute the logits of a block again in the
    backward pass, a fourth product, and hold a second gradient of the kernel. Forward mode forms the gradients too and
    costs as much as reverse mode; second order computes logits again and holds a few more arrays of the kernel's size.

    Features and a kernel of the same half precision are multiplied as they are, and their gradients are summed in
    float32, which takes memory as well. Any others are multiplied in the wider dtype, float32 at least, as JAX and Flax
    promote: bfloat16 features and a float32 kernel in float32. For a product in bfloat16 cast the kernel,
    `kernel.astype(jnp.bfloat16)`, as a Flax layer with `dtype=jnp.bfloat16` does.

    A bfloat16 layer on one device needs less memory (from jax 0.11.2 on): a block is of classes, with all tokens, so
    that no gradient of the kernel is summed over blocks. The logits are computed twice, and their gradient is rounded
    to bfloat16 before the products, as that of a layer without blocks is.

    On a mesh the first axis of `pred` may be sharded, and the classes of the kernel: a block takes tokens from every
    device, and the devices add up their gradients of the kernel once, not once a block. Later axes of `pred` that are
    sharded are gathered by an automatic mesh, and make an explicit one compute without blocks. What an automatic mesh
    does not shard at all needs a gradient of the kernel for each device, on each device. On an explicit mesh a kernel
    that is sharded over its features, or over classes by an axis that shards tokens, is gathered once, on each device,
    and so are features; the gradients are sharded as their inputs are.

    `jax.export` takes a batch of symbolic size, in blocks of the sizes that a known one would have; but blocks of
    classes have their default size then.

    Args:
        pred: features that enter the last layer of the model, floating.
        kernel: its weights, floating, as Flax's `Dense` and `Linear` keep them.
        target: class indices in [0, classes), integer, of the shape of `pred` without its last axis. An index out of
            range, negative ones too, gives NaN in value and gradient.
        bias: one number for each class; None for none.
        weight: one number at least 0 for each class.
        ignore_index: a class index that counts for nothing; None for no such index (PyTorch's default is -100).
        label_smoothing: in [0, 1], the part of the target that is spread evenly over the classes. May be traced.
        z_loss: at least 0, the coefficient of the squared logarithm of the sum of exponentials, which keeps logits from
            drifting. It counts as the smoothing does, whatever the weight of the label. May be traced.
        logit_softcap: greater than 0, the bound of the logits' absolute value; None or infinite for no bound. May be
            traced.
        chunk_size: how many tokens a block takes, on each device of a sharded batch; a Python integer. None for 1/64 of
            them, but 128 at least. Smaller needs less memory, larger may be faster: two arrays of (chunk_size, classes)
            are kept. But a block takes 1/1024 of the tokens at least: more blocks save nothing beside the features, and
            cost digits of the gradients. A block of classes takes so many that it has this size; None for 1/256 of
            them, but 512 at least.
        where: booleans that broadcast to the unreduced loss; what is False counts for nothing.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, or an unknown `reduction`.
        JaxRuntimeError: under `chex.chexify`, an index out of range.

    PyTorch: `torch.nn.functional.linear_cross_entropy`, `torch.nn.LinearCrossEntropyLoss`, from 2.13 on; its kernel is
    (classes, features).

    Reference: E. Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, arXiv:2411.09009; z_loss:
    A. Chowdhery et al., arXiv:2204.02311; the cap: Gemma Team, arXiv:2408.00118.

    >>> features, kernel = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> print(f"{linear_cross_entropy(features, kernel, jnp.array([1])):.4f}")
    0.4076
    >>> print(f"{linear_cross_entropy(features, kernel, jnp.array([1]), z_loss=0.1, logit_softcap=2.0):.4f}")
    1.0074
    """
    contract = Contract("linear_cross_entropy")
    reduce = resolve(contract.function, reduction)
    pred, kernel, bias = contract.dense(pred=pred, kernel=kernel, bias=bias)
    target = contract.class_indices(pred, pred.ndim - 1, target, INDICES)
    keep = ignored(contract, target, ignore_index, where)
    (target,) = fill_hidden(keep, 0, target)
    (pred,) = fill_hidden(expand(-1, keep), 0.0, pred)
    classes, dtype = kernel.shape[1], bias.dtype
    contract.check_labels(target, classes)
    options = _Options(
        bias=bias,
        weight=None if weight is None else contract.one_per_class(classes, dtype, weight=weight),
        smoothing=contract.fraction(dtype, label_smoothing=label_smoothing),
        z_loss=contract.nonnegative(dtype, z_loss=z_loss),
        softcap=None if logit_softcap is None else contract.positive(dtype, logit_softcap=logit_softcap),
    )
    if options.softcap is not None and not isinstance(options.softcap, Array) and math.isinf(options.softcap):
        options = options._replace(softcap=None)
    # Arrays are differentiated; a number that Python knows to be 0 costs nothing.
    arrays = {name: value for name, value in options._asdict().items() if isinstance(value, Array)}
    layer = _Layer(contract.function, options._replace(**dict.fromkeys(arrays)), classes, dtype)
    pred, kernel, arrays = _with_whole_features(pred, kernel, arrays)

    lanes, sharding = _lanes(pred)
    tokens, chunk_size = target.size // lanes, contract.count(chunk_size=chunk_size)
    blocks, size = _blocks_of_tokens(tokens, chunk_size)
    if not is_symbolic_dim(blocks) and blocks <= 1:
        product = jnp.matmul(pred, kernel, preferred_element_type=dtype)
        return layer.reduced(reduction, layer.losses(product, arrays, target), arrays, target, keep)

    if keep is None and (is_symbolic_dim(tokens) or tokens % blocks):
        keep = jnp.ones(target.shape, bool)
    per_token = jax.tree.map(
        lambda array: _in_blocks(array, target.ndim, lanes, blocks, size, sharding), (pred, target, keep)
    )
    shared = jax.tree.map(lambda array: _in_lanes(array, lanes, sharding), (kernel, arrays))
    if not is_mean(reduction) and not is_sum(reduction):
        each = functools.partial(_loss_of_each_token, layer.losses, dtype)
        values = _side_by_side(lanes, each)(*shared, *per_token[:2]).reshape(lanes, size * blocks)[:, :tokens]
        values = values.reshape(lanes, -1, *target.shape[1:]).reshape(target.shape)
        return layer.reduced(reduction, values, arrays, target, keep)

    if lanes == 1 and _has_blocks_of_classes(pred, kernel):
        layer = layer._replace(blocks_of_classes=_blocks_of_classes(classes, blocks if chunk_size else None))
    total = jnp.sum(_side_by_side(lanes, functools.partial(_sum_over_blocks, layer))(*shared, *per_token))
    if is_sum(reduction):
        return reduce(total, None)
    weights = jnp.ones(target.shape, dtype) if weight is None else take_class(arrays["weight"], target)
    return divide(reduce(total, None), reduce(jnp.sum(weights, where=keep), None))


class _Options(NamedTuple):
    bias: Any
    weight: Any
    smoothing: Any
    z_loss: Any
    softcap: Any


class _Layer(NamedTuple):
    """The last layer, and what follows it, as functions of arrays. What it holds is known to Python, no array."""

    function: str
    numbers: _Options  # None where there is an array, or nothing.
    classes: int
    dtype: Any
    blocks_of_classes: int = 0  # 0: blocks are of tokens.

    def logits(self, product: Array, arrays: dict[str, Array]) -> Array:
        options = self.numbers._replace(**arrays)
        logits = product + _along_last(options.bias, product)
        return logits if options.softcap is None else _capped(logits, options.softcap)

    def losses(self, product: Array, arrays: dict[str, Array], target: Array) -> Array:
        _, weight, smoothing, z_loss, _ = self.numbers._replace(**arrays)
        return index_losses(self.logits(product, arrays), target, product.ndim - 1, weight, smoothing, z_loss)

    def reduced(self, reduction: Reduction, losses: Array, arrays: dict[str, Array], target: Array, keep: Any) -> Array:
        _, weight, smoothing, z_loss, _ = self.numbers._replace(**arrays)
        return reduce_index_losses(self.function, reduction, losses, target, weight, smoothing, z_loss, keep)

    def block_sum(self, product: Array, arrays: dict[str, Array], target: Array, keep: Array | None) -> Array:
        return self.reduced("sum", self.losses(product, arrays, target), arrays, target, keep)

    def sum_of_sums(self, sums: Any, arrays: dict[str, Array], target: Array, keep: Array | None) -> Array:
        _, weight, smoothing, z_loss, _ = self.numbers._replace(**arrays)
        values = index_losses_of_sums(sums, target, self.classes, weight, smoothing, z_loss)
        return self.reduced("sum", values, arrays, target, keep)


def _along_last(per_class: Array, like: Array) -> Array:
    return jnp.expand_dims(per_class, range(like.ndim - 1))


def _capped(logits: Array, cap: ArrayLike) -> Array:
    """c tanh(x / c). From a cap of this power of two on it is x, to the last digit."""
    cap = jnp.minimum(cap, 2.0 ** (jnp.finfo(logits.dtype).maxexp // 2))
    return cap * jnp.tanh(logits / cap)


# More blocks save nothing beside the features, and rounding grows with each that is added to the kernel's gradient.
_MOST_BLOCKS = 1024


def _blocks_of_tokens(tokens: Any, chunk_size: int | None) -> tuple[Any, Any]:
    """How many blocks, and of how many tokens, for a size that may be symbolic."""
    size = max_dim(chunk_size or max_dim(128, tokens // 64), -(-tokens // _MOST_BLOCKS))
    blocks = -(-tokens // size) if is_symbolic_dim(tokens) or tokens else 0
    # Blocks of one size need less padding.
    return blocks, size if is_symbolic_dim(tokens) else -(-tokens // max(blocks, 1))


def _blocks_of_classes(classes: int, blocks: Any) -> int:
    if blocks is None or is_symbolic_dim(blocks):
        blocks = min(classes // 512, 256)
    # Two at least: XLA unrolls a loop of one step, and takes into it what must stand outside.
    size = -(-classes // max(blocks, 2))
    return max(-(-classes // size), 2)


def _has_blocks_of_classes(pred: Array, kernel: Array) -> bool:
    """Where the kernel's gradient is bfloat16: blocks of tokens would sum it in float32, blocks of classes need no sum.

    In float32 the sum stands where the result will, and to compute the logits twice costs more. Of float16 the range is
    too small for slopes. XLA:CPU before jax 0.11.2 copies a whole array of bfloat16 whenever a loop updates a part.
    """
    is_bfloat16 = pred.dtype == kernel.dtype == jnp.bfloat16
    return is_bfloat16 and not is_explicitly_sharded(kernel) and jax.__version_info__ >= (0, 11, 2)


def _with_whole_features(pred: Array, kernel: Array, arrays: dict[str, Array]) -> tuple[Array, Array, dict[str, Array]]:
    """On an explicit mesh no axis may shard the features, nor one that shards the tokens the classes."""
    (*batch, features), (_, classes) = (jax.typeof(array).sharding.spec for array in (pred, kernel))
    of_tokens = set(_names(batch))
    classes = tuple(name for name in _names([classes]) if name not in of_tokens) or None
    if features is not None:
        pred = _reshard(pred, P(*batch, None))
    kernel = _reshard(kernel, P(None, classes))
    return pred, kernel, {name: _reshard(array, P(classes)) if array.ndim else array for name, array in arrays.items()}


def _names(spec: Iterable[Any]) -> list[Any]:
    """The mesh axes of a part of a spec."""
    entries = [axis if isinstance(axis, tuple) else (axis,) for axis in spec if axis is not None]
    return [name for entry in entries for name in entry]


def _reshard(array: Array, spec: P) -> Array:
    sharding = jax.typeof(array).sharding
    if _names(sharding.spec) == _names(spec) == []:
        return array
    return jax.sharding.reshard(array, NamedSharding(sharding.mesh, spec))


def _lanes(pred: Array) -> tuple[int, NamedSharding | None]:
    """In how many lanes the tokens run side by side, and the mesh axes that these are known to lie on.

    A lane stays on its device and sums its own gradient of the kernel, so that the devices add theirs once and not once
    a block. On one device, and in `shard_map`, there is one.
    """
    mesh, spec = jax.typeof(pred).sharding.mesh, jax.typeof(pred).sharding.spec
    first, later = (*spec[:-1], None)[0], spec[1:-1]
    if any(axis is not None for axis in later):
        return max(math.prod(pred.shape[:-1]), 1), None  # Tokens would have to move: one lane each, no blocks.
    kinds = zip(mesh.shape.items(), mesh.axis_types, strict=True)
    parts = math.prod(size for (name, size), kind in kinds if kind == AxisType.Auto or name in _names([first]))
    size = (*pred.shape[:-1], 0)[0]
    lanes = (parts if size % parts == 0 else 1) if is_symbolic_dim(size) else math.gcd(parts, size)
    return lanes, None if first is None else NamedSharding(mesh, P(first))


def _in_blocks(
    array: Array, batch_ndim: int, lanes: int, blocks: Any, size: Any, sharding: NamedSharding | None
) -> Array:
    """(*batch, ...) to (lanes, size, blocks, ...): every block takes tokens of every part of a lane."""
    if sharding is not None:
        array = jax.sharding.reshard(array, sharding)
    rest = array.shape[batch_ndim:]
    tokens = math.prod(array.shape[:batch_ndim]) // lanes
    array = array.reshape(lanes, array.shape[0] // lanes, *array.shape[1:]).reshape(lanes, tokens, *rest)
    array = jnp.pad(array, [(0, 0), (0, size * blocks - tokens), *[(0, 0) for _ in rest]])
    return array.reshape(lanes, size, blocks, *rest)


def _in_lanes(array: Array, lanes: int, sharding: NamedSharding | None) -> Array:
    """One for each lane; the transpose of this adds up the gradients of the lanes."""
    if sharding is not None:
        sharding = NamedSharding(sharding.mesh, P(*sharding.spec, *jax.typeof(array).sharding.spec))
    copies = jnp.broadcast_to(array, (lanes, *array.shape), out_sharding=sharding)
    # JAX 0.12 leaves a constant, such as no bias, where it was.
    return copies if sharding is None else jax.sharding.reshard(copies, sharding)


def _side_by_side(lanes: int, function: Callable[..., Array]) -> Callable[..., Array]:
    if lanes > 1:
        return jax.vmap(function)
    # An axis of one that stays would cost a copy of the kernel's gradient.
    return lambda *arrays: function(*jax.tree.map(lambda array: array[0], arrays))[None]


def _loss_of_each_token(
    losses: Callable[..., Array], dtype: Any, kernel: Array, arrays: Any, pred: Array, *others: Any
) -> Array:
    """Block by block; the backward pass computes the logits of a block again."""
    wide = kernel.astype(dtype)  # The scan adds up the gradients of the blocks in the dtype of what it closes over.

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(_: None, block: Any) -> tuple[None, Array]:
        pred, *others = block
        product = jnp.matmul(pred, wide.astype(kernel.dtype), preferred_element_type=dtype)
        return None, losses(product, arrays, *others)

    return jax.lax.scan(step, None, jax.tree.map(lambda array: jnp.moveaxis(array, 1, 0), (pred, *others)))[1].T


def _sum_over_blocks(layer: _Layer, kernel: Array, arrays: Any, pred: Array, target: Array, keep: Any) -> Array:
    # 0, on every device that these lie on: what is added to it lies there too.
    zero = 0 * (target[0, 0] + jnp.any(pred[0, 0] > 0).astype(target.dtype))
    kernel, arrays = jax.tree.map(lambda array: array + zero.astype(array.dtype), (kernel, arrays))
    return _fused_sum(layer, kernel, arrays, pred, (target, keep, zero))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _fused_sum(layer: _Layer, kernel: Array, arrays: Any, pred: Array, constants: Any) -> Array:
    """The sum of `block_sum(pred @ kernel, ...)`; its gradient is formed with it, and no logits are kept."""
    return jnp.sum(_loss_of_each_token(layer.block_sum, layer.dtype, kernel, arrays, pred, *constants[:2]))


def _fused_sum_jvp(layer: _Layer, primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, slopes = _value_and_slopes(layer, *primals)
    is_zero = lambda leaf: isinstance(leaf, SymbolicZero)  # noqa: E731
    pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(tangents[:3], is_leaf=is_zero), strict=True)
    terms = [jnp.sum(slope.astype(layer.dtype) * dot.astype(layer.dtype)) for slope, dot in pairs if not is_zero(dot)]
    return value, sum(terms, jnp.zeros_like(value))


_fused_sum.defjvp(_fused_sum_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _value_and_slopes(layer: _Layer, kernel: Array, arrays: Any, pred: Array, constants: Any) -> tuple[Array, Any]:
    function = _value_and_slopes_by_classes if layer.blocks_of_classes else _value_and_slopes_by_tokens
    return function(layer, kernel, arrays, pred, *constants)


@_value_and_slopes.defjvp
def _value_and_slopes_jvp(layer: _Layer, primals: Any, tangents: Any) -> Any:
    dtype = layer.dtype

    def definition(kernel: Array, arrays: Any, pred: Array) -> Any:
        each = functools.partial(_loss_of_each_token, layer.block_sum, dtype)
        total = lambda *inputs: jnp.sum(each(*inputs, *primals[3][:2]))  # noqa: E731
        value, (kernel_slopes, *slopes) = jax.value_and_grad(total, (0, 1, 2))(kernel, arrays, pred)
        kernel_slopes = kernel_slopes.astype(kernel.dtype if layer.blocks_of_classes else dtype)
        return value, (kernel_slopes, *jax.tree.map(lambda slope: slope.astype(dtype), slopes))

    return jax.jvp(definition, primals[:3], tangents[:3])


def _value_and_slopes_by_tokens(
    layer: _Layer, kernel: Array, arrays: Any, pred: Array, target: Array, keep: Any, zero: Array
) -> tuple[Array, Any]:
    """Three products a block: the logits, and of their gradient those of the features and of the kernel."""
    features, dtype = kernel.shape[0], layer.dtype
    blocks = pred.shape[1]
    # The kernel's gradient grows by a few rows at a time, else a second one would be needed to add to it.
    rows = min(64, features)

    def step(block: Array, sums: Any) -> Any:
        totals, kernel_sum, array_sums, pred_slopes = sums
        take = functools.partial(jax.lax.dynamic_index_in_dim, index=block, axis=1, keepdims=False)
        x, y, kept = jax.tree.map(take, (pred, target, keep))
        product = jnp.matmul(x, kernel, preferred_element_type=dtype)
        value, (slope, array_slopes) = jax.value_and_grad(layer.block_sum, (0, 1))(product, arrays, y, kept)
        x = x.astype(dtype)
        (x_slope,) = jax.linear_transpose(lambda x: jnp.matmul(x, kernel.astype(dtype)), x)(slope)

        def grow(part: Array, kernel_sum: Array) -> Array:
            first = jnp.minimum(part * rows, features - rows)
            columns = jax.lax.dynamic_slice_in_dim(x, first, rows, 1)
            is_new = first + jnp.arange(rows, dtype=first.dtype) >= part * rows
            columns = jnp.where(is_new[None], columns, 0.0)  # The last rows begin with some that are added already.
            grown = jax.lax.dynamic_slice_in_dim(kernel_sum, first, rows, 0) + columns.T @ slope
            return jax.lax.dynamic_update_slice_in_dim(kernel_sum, grown, first, 0)

        kernel_sum = _repeat(-(-features // max(rows, 1)), grow, kernel_sum)
        array_sums = jax.tree.map(jnp.add, array_sums, array_slopes)
        return (
            jax.lax.dynamic_update_index_in_dim(totals, value, block, 0),
            kernel_sum,
            array_sums,
            jax.lax.dynamic_update_index_in_dim(pred_slopes, x_slope, block, 1),
        )

    zeros = jax.tree.map(functools.partial(_zeros_like, dtype=dtype, zero=zero), (kernel, arrays, pred))
    # One sum of the totals at the end is closer than a running one.
    totals = jnp.zeros(blocks, dtype) + zero.astype(dtype)
    totals, *slopes = _repeat(blocks, step, (totals, *zeros))
    return jnp.sum(totals), tuple(slopes)


def _value_and_slopes_by_classes(
    layer: _Layer, kernel: Array, arrays: Any, pred: Array, target: Array, keep: Any, zero: Array
) -> tuple[Array, Any]:
    """Four products a block of classes: the logits twice, but nothing of the kernel's size in a wider dtype.

    A loss depends on the logits of its token by three sums: the label's logit alone, the exponentials of the others,
    and the weighted logits that smoothing spreads. The first pass over the classes adds these up, the second gives the
    slopes through them.
    """
    classes, blocks, dtype = layer.classes, layer.blocks_of_classes, layer.dtype
    size = -(-classes // blocks)
    tokens, label = pred.reshape(target.size, pred.shape[-1]), target.reshape(-1, 1)
    # Inside the loop XLA:CPU would take the transpose into the product, too late to see that it has none such.
    transposed = tokens.T

    def part(block: Array) -> Any:
        first = jnp.minimum(block * size, classes - size)
        take = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=size, axis=-1)
        put = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=first, axis=-1)
        columns, index = take(kernel), (first + jnp.arange(size, dtype=first.dtype))[None]
        some = {name: take(array) if array.ndim else array for name, array in arrays.items()}
        product = jnp.matmul(tokens, columns, preferred_element_type=dtype)
        return take, put, columns, product, some, (label == index.astype(label.dtype), index >= block * size)

    def sums_of_part(product: Array, some: Any, marks: Any, log_scale: Array) -> Any:
        is_label, is_new = marks  # The last block begins with classes of the one before.
        logits = layer.logits(product, some)
        others = jnp.exp(jnp.where(is_label | ~is_new, -jnp.inf, logits) - _finite(log_scale)[:, None])
        weighted = jnp.zeros_like(logits[:, :0])
        if not all_zero(layer.numbers.smoothing):
            share = is_new.astype(dtype)
            weighted = weigh(_along_last(some["weight"], logits) * share if "weight" in some else share, logits)
        return jnp.where(is_label & is_new, logits, 0.0).sum(-1), others.sum(-1), weighted.sum(-1)

    def add_sums(block: Array, state: Any) -> Any:
        largest, (own, others, weighted) = state
        *_, product, some, marks = part(block)
        seen = jnp.where(marks[0], -jnp.inf, layer.logits(product, some)).max(-1)
        grown = jnp.maximum(largest, seen)
        more = sums_of_part(product, some, marks, grown)
        return grown, (own + more[0], others * jnp.exp(largest - _finite(grown)) + more[1], weighted + more[2])

    def add_slopes(block: Array, slopes: Any) -> Any:
        kernel_slopes, array_slopes, pred_slopes = slopes
        take, put, columns, product, some, marks = part(block)

        def share(product: Array, some: Any) -> Array:
            return jnp.sum(jnp.stack(sum_slopes) * jnp.stack(sums_of_part(product, some, marks, log_others)))

        def add(total: Array, slope: Array) -> Array:
            return put(total, take(total) + slope) if slope.ndim else total + slope

        slope, some_slopes = jax.grad(share, (0, 1))(product, some)
        slope = slope.astype(kernel.dtype)
        kernel_slope = jnp.matmul(transposed, slope, preferred_element_type=dtype).astype(kernel.dtype)
        pred_slope = jax.lax.dot_general(slope, columns, (((1,), (1,)), ((), ())), preferred_element_type=dtype)
        return add(kernel_slopes, kernel_slope), jax.tree.map(add, array_slopes, some_slopes), pred_slopes + pred_slope

    each = _zeros_like(label[:, 0], dtype, zero)
    largest, (own, others, weighted) = _repeat(blocks, add_sums, (each - jnp.inf, (each, each, each)))
    log_others = largest + jnp.log(jnp.where(largest == -jnp.inf, 1.0, others))
    kept = None if keep is None else keep.reshape(-1)
    value_and_slopes = jax.value_and_grad(layer.sum_of_sums, (0, 1))
    total, (sum_slopes, array_slopes) = value_and_slopes((own, log_others, weighted), arrays, label[:, 0], kept)
    slopes = _zeros_like(kernel, kernel.dtype, zero), array_slopes, _zeros_like(tokens, dtype, zero)
    slopes = _repeat(blocks, add_slopes, slopes)
    return total, (*slopes[:2], slopes[2].reshape(pred.shape))


def _finite(log_scale: Array) -> Array:
    return jnp.where(log_scale == -jnp.inf, 0.0, log_scale)


def _zeros_like(array: Array, dtype: Any, zero: Array) -> Array:
    """What a loop adds to, on every device that `zero` lies on."""
    return jnp.zeros_like(array, dtype=dtype) + zero.astype(dtype)


def _repeat(times: Any, step: Callable[[Array, Any], Any], state: Any) -> Any:
    """A scan where the number of steps is known: in a `while_loop` on an explicit mesh checkify of jax 0.12 fails."""
    times = jnp.asarray(times, jnp.int32) if is_symbolic_dim(times) else np.int32(times)
    return jax.lax.fori_loop(np.int32(0), times, step, state)
