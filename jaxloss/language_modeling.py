"""Language models: large vocabularies."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Bool, Float, Integer, Real

from jaxloss._contracts import Contract
from jaxloss._eager import compiled_when_eager
from jaxloss._numerics import divide, expand, fill_hidden, is_explicitly_sharded, take_class, weigh
from jaxloss._typing import ArrayLike
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
    target: Integer[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " classes"] | None = None,
    weight: Real[ArrayLike, " classes"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    label_smoothing: Real[ArrayLike, ""] = 0.0,
    z_loss: Real[ArrayLike, ""] = 0.0,
    logit_softcap: Real[ArrayLike, ""] | None = None,
    chunk_size: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
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

    Half-precision inputs are multiplied as they are; their gradients are summed in float32, which takes memory as well.
    A bfloat16 layer on one device needs less (from jax 0.11.2 on): a block is of classes, with all tokens, so that no
    gradient of the kernel is summed over blocks. The logits are computed twice, and their gradient is rounded to
    bfloat16 before the products, as that of a layer without blocks is.

    On a mesh the first axis of `pred` may be sharded, and the classes of the kernel: a block takes tokens from every
    device, and the devices add up their gradients of the kernel once, not once a block. Later axes of `pred` that are
    sharded are gathered by an automatic mesh, and make an explicit one compute without blocks. What an automatic mesh
    does not shard at all needs a gradient of the kernel for each device, on each device.

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
        logit_softcap: greater than 0, the bound of the logits' absolute value; None for no bound. May be traced.
        chunk_size: how many tokens a block takes, on each device of a sharded batch; a Python integer. None for 1/64 of
            them, but 128 at least. Smaller needs less memory, larger may be faster: two arrays of (chunk_size, classes)
            are kept. A block of classes takes so many that it has this size; None for 1/256 of them, but 512 at least.
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
    contract.check_labels(target, kernel.shape[1])
    dtype = jnp.promote_types(jnp.promote_types(pred.dtype, kernel.dtype), bias.dtype)
    options = {
        "bias": bias.astype(dtype),
        "weight": None if weight is None else contract.one_per_class(kernel.shape[1], dtype, weight=weight),
        "smoothing": contract.fraction(dtype, label_smoothing=label_smoothing),
        "z_loss": contract.nonnegative(dtype, z_loss=z_loss),
        "softcap": None if logit_softcap is None else contract.positive(dtype, logit_softcap=logit_softcap),
    }
    # Arrays are differentiated; a number that Python knows to be 0 costs nothing.
    arrays = {name: value for name, value in options.items() if isinstance(value, Array)}

    def logits_of(product: Array, arrays: dict[str, Array]) -> Array:
        bias, *_, softcap = (options | arrays).values()
        logits = product + bias
        return logits if softcap is None else softcap * jnp.tanh(logits / softcap)

    def losses(product: Array, arrays: dict[str, Array], target: Array) -> Array:
        _, weight, smoothing, z_loss, _ = (options | arrays).values()
        return index_losses(logits_of(product, arrays), target, product.ndim - 1, weight, smoothing, z_loss)

    def reduced(reduction: Reduction, losses: Array, arrays: dict[str, Array], target: Array, keep: Any) -> Array:
        _, weight, smoothing, z_loss, _ = (options | arrays).values()
        return reduce_index_losses(contract.function, reduction, losses, target, weight, smoothing, z_loss, keep)

    lanes, sharding = _lanes(pred)
    tokens, size = target.size // lanes, contract.count(chunk_size=chunk_size)
    blocks = -(-tokens // (size or max(128, tokens // 64)))
    if blocks <= 1:
        product = jnp.matmul(pred, kernel, preferred_element_type=dtype)
        return reduced(reduction, losses(product, arrays, target), arrays, target, keep)

    if keep is None and tokens % blocks:
        keep = jnp.ones(target.shape, bool)
    per_token = jax.tree.map(
        lambda array: _in_blocks(array, target.ndim, lanes, blocks, sharding), (pred, target, keep)
    )
    shared = jax.tree.map(lambda array: _in_lanes(array, lanes, sharding), (kernel, arrays))
    if not is_mean(reduction) and not is_sum(reduction):
        each = functools.partial(_loss_of_each_token, losses, dtype)
        values = _side_by_side(lanes, each)(*shared, *per_token[:2]).reshape(lanes, -1)[:, :tokens]
        values = values.reshape(lanes, -1, *target.shape[1:]).reshape(target.shape)
        return reduced(reduction, values, arrays, target, keep)

    def block_sum(product: Array, arrays: dict[str, Array], target: Array, keep: Array | None) -> Array:
        return reduced("sum", losses(product, arrays, target), arrays, target, keep)

    def sum_of_sums(sums: Any, arrays: dict[str, Array], target: Array, keep: Array | None) -> Array:
        _, weight, smoothing, z_loss, _ = (options | arrays).values()
        values = index_losses_of_sums(sums, target, classes, weight, smoothing, z_loss)
        return reduced("sum", values, arrays, target, keep)

    classes = kernel.shape[1]
    # Two at least: XLA unrolls a loop of one step, and takes into it what must stand outside.
    blocks_of_classes = max(blocks if size else min(classes // 512, 256), 2)
    layer = _Layer(
        logits_of,
        block_sum,
        sum_of_sums,
        not all_zero(options["smoothing"]),
        blocks_of_classes if lanes == 1 and _has_blocks_of_classes(pred, kernel) else 0,
    )
    total = jnp.sum(_side_by_side(lanes, functools.partial(_sum_over_blocks, layer, dtype))(*shared, *per_token))
    if is_sum(reduction):
        return reduce(total, None)
    weights = jnp.ones(target.shape, dtype) if weight is None else take_class(options["weight"], target)
    return divide(reduce(total, None), reduce(jnp.sum(weights, where=keep), None))


class _Layer(NamedTuple):
    """The last layer, and what follows it, as functions of arrays."""

    logits: Callable[..., Array]
    block_sum: Callable[..., Array]
    sum_of_sums: Callable[..., Array]
    is_smoothed: bool
    blocks_of_classes: int  # 0: blocks are of tokens.


def _has_blocks_of_classes(pred: Array, kernel: Array) -> bool:
    """Where the kernel's gradient is bfloat16: blocks of tokens would sum it in float32, blocks of classes need no sum.

    In float32 the sum stands where the result will, and to compute the logits twice costs more. Of float16 the range is
    too small for slopes. XLA:CPU before jax 0.11.2 copies a whole array of bfloat16 whenever a loop updates a part.
    """
    is_bfloat16 = pred.dtype == kernel.dtype == jnp.bfloat16
    return is_bfloat16 and not is_explicitly_sharded(kernel) and jax.__version_info__ >= (0, 11, 2)


def _lanes(pred: Array) -> tuple[int, NamedSharding | None]:
    """In how many lanes the tokens run side by side, and the mesh axes that these are known to lie on.

    A lane stays on its device and sums its own gradient of the kernel, so that the devices add theirs once and not once
    a block. On one device, and in `shard_map`, there is one.
    """
    mesh, spec = jax.typeof(pred).sharding.mesh, jax.typeof(pred).sharding.spec
    first, later = (*spec[:-1], None)[0], spec[1:-1]
    if any(axis is not None for axis in later):
        return max(math.prod(pred.shape[:-1]), 1), None  # Tokens would have to move: one lane each, no blocks.
    named = first if isinstance(first, tuple) else (first,)
    kinds = zip(mesh.shape.items(), mesh.axis_types, strict=True)
    parts = math.prod(size for (name, size), kind in kinds if kind == AxisType.Auto or name in named)
    return math.gcd(parts, *pred.shape[:-1][:1]), None if first is None else NamedSharding(mesh, P(first))


def _in_blocks(array: Array, batch_ndim: int, lanes: int, blocks: int, sharding: NamedSharding | None) -> Array:
    """(*batch, ...) to (lanes, tokens, blocks, ...): every block takes tokens of every part of a lane."""
    if sharding is not None:
        array = jax.sharding.reshard(array, sharding)
    rest = array.shape[batch_ndim:]
    array = array.reshape(lanes, -1, *array.shape[1:]).reshape(lanes, -1, *rest)
    array = jnp.pad(array, [(0, 0), (0, -array.shape[1] % blocks), *[(0, 0) for _ in rest]])
    return array.reshape(lanes, -1, blocks, *rest)


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


def _sum_over_blocks(
    layer: _Layer, dtype: Any, kernel: Array, arrays: Any, pred: Array, target: Array, keep: Any
) -> Array:
    # 0, on every device that these lie on: what is added to it lies there too.
    zero = 0 * (target[0, 0] + (pred[0, 0, 0] > 0).astype(target.dtype))
    kernel, arrays = jax.tree.map(lambda array: array + zero.astype(array.dtype), (kernel, arrays))
    return _fused_sum(layer, dtype, kernel, arrays, pred, (target, keep, zero))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _fused_sum(layer: _Layer, dtype: Any, kernel: Array, arrays: Any, pred: Array, constants: Any) -> Array:
    """The sum of `block_sum(pred @ kernel, ...)`; its gradient is formed with it, and no logits are kept."""
    return jnp.sum(_loss_of_each_token(layer.block_sum, dtype, kernel, arrays, pred, *constants[:2]))


def _fused_sum_jvp(layer: _Layer, dtype: Any, primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, slopes = _value_and_slopes(layer, dtype, *primals)
    is_zero = lambda leaf: isinstance(leaf, SymbolicZero)  # noqa: E731
    pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(tangents[:3], is_leaf=is_zero), strict=True)
    terms = [jnp.sum(slope * dot.astype(dtype)) for slope, dot in pairs if not is_zero(dot)]
    return value, sum(terms, jnp.zeros_like(value))


_fused_sum.defjvp(_fused_sum_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _value_and_slopes(
    layer: _Layer, dtype: Any, kernel: Array, arrays: Any, pred: Array, constants: Any
) -> tuple[Array, Any]:
    function = _value_and_slopes_by_classes if layer.blocks_of_classes else _value_and_slopes_by_tokens
    return function(layer, dtype, kernel, arrays, pred, *constants)


@_value_and_slopes.defjvp
def _value_and_slopes_jvp(layer: _Layer, dtype: Any, primals: Any, tangents: Any) -> Any:
    def definition(kernel: Array, arrays: Any, pred: Array) -> Any:
        each = functools.partial(_loss_of_each_token, layer.block_sum, dtype)
        total = lambda *inputs: jnp.sum(each(*inputs, *primals[3][:2]))  # noqa: E731
        value, (kernel_slopes, *slopes) = jax.value_and_grad(total, (0, 1, 2))(kernel, arrays, pred)
        kernel_slopes = kernel_slopes.astype(kernel.dtype if layer.blocks_of_classes else dtype)
        return value, (kernel_slopes, *jax.tree.map(lambda slope: slope.astype(dtype), slopes))

    return jax.jvp(definition, primals[:3], tangents[:3])


def _value_and_slopes_by_tokens(
    layer: _Layer, dtype: Any, kernel: Array, arrays: Any, pred: Array, target: Array, keep: Any, zero: Array
) -> tuple[Array, Any]:
    """Three products a block: the logits, and of their gradient those of the features and of the kernel."""
    features = kernel.shape[0]
    # The kernel's gradient grows by a few rows at a time, else a second one would be needed to add to it.
    rows = min(64, features)

    def step(block: Array, sums: Any) -> Any:
        total, kernel_sum, array_sums, pred_slopes = sums
        take = functools.partial(jax.lax.dynamic_index_in_dim, index=block, axis=1, keepdims=False)
        x, y, kept = jax.tree.map(take, (pred, target, keep))
        product = jnp.matmul(x, kernel, preferred_element_type=dtype)
        value, (slope, array_slopes) = jax.value_and_grad(layer.block_sum, (0, 1))(product, arrays, y, kept)
        x = x.astype(dtype)
        (x_slope,) = jax.linear_transpose(lambda x: jnp.matmul(x, kernel.astype(dtype)), x)(slope)

        def grow(part: Array, kernel_sum: Array) -> Array:
            first = jnp.minimum(part * rows, features - rows)
            columns = jax.lax.dynamic_slice_in_dim(x, first, rows, 1)
            columns = jnp.where(first + jnp.arange(rows) >= part * rows, columns, 0.0)  # What is added already.
            grown = jax.lax.dynamic_slice_in_dim(kernel_sum, first, rows, 0) + columns.T @ slope
            return jax.lax.dynamic_update_slice_in_dim(kernel_sum, grown, first, 0)

        kernel_sum = _repeat(-(-features // rows), grow, kernel_sum)
        array_sums = jax.tree.map(jnp.add, array_sums, array_slopes)
        return (
            total + value,
            kernel_sum,
            array_sums,
            jax.lax.dynamic_update_index_in_dim(pred_slopes, x_slope, block, 1),
        )

    zeros = jax.tree.map(functools.partial(_zeros_like, dtype=dtype, zero=zero), (kernel, arrays, pred))
    total, *slopes = _repeat(pred.shape[1], step, (zero.astype(dtype), *zeros))
    return total, tuple(slopes)


def _value_and_slopes_by_classes(
    layer: _Layer, dtype: Any, kernel: Array, arrays: Any, pred: Array, target: Array, keep: Any, zero: Array
) -> tuple[Array, Any]:
    """Four products a block of classes: the logits twice, but nothing of the kernel's size in a wider dtype.

    A loss depends on the logits of its token by three sums: the label's logit alone, the exponentials of the others,
    and the weighted logits that smoothing spreads. The first pass over the classes adds these up, the second gives the
    slopes through them.
    """
    classes, blocks = kernel.shape[1], layer.blocks_of_classes
    size = -(-classes // blocks)
    tokens, label = pred.reshape(-1, pred.shape[-1]), target.reshape(-1, 1)
    # Inside the loop XLA:CPU would take the transpose into the product, too late to see that it has none such.
    transposed = tokens.T

    def part(block: Array) -> Any:
        first = jnp.minimum(block * size, classes - size)
        take = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=size, axis=-1)
        put = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=first, axis=-1)
        columns, index = take(kernel), first + jnp.arange(size, dtype=label.dtype)
        some = {name: take(array) if array.ndim else array for name, array in arrays.items()}
        product = jnp.matmul(tokens, columns, preferred_element_type=dtype)
        return take, put, columns, product, some, (label == index, index >= block * size)

    def sums_of_part(product: Array, some: Any, marks: Any, log_scale: Array) -> Any:
        is_label, is_new = marks  # The last block begins with classes of the one before.
        logits = layer.logits(product, some)
        others = jnp.exp(jnp.where(is_label | ~is_new, -jnp.inf, logits) - _finite(log_scale)[:, None])
        weighted = (
            weigh(some.get("weight", 1.0) * is_new, logits) if layer.is_smoothed else jnp.zeros_like(logits[:, :0])
        )
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


def _repeat(times: int, step: Callable[[Array, Any], Any], state: Any) -> Any:
    """As `fori_loop`, which becomes a scan, whose constants JAX takes out of the loop and keeps when it linearises."""

    def body(carry: Any) -> Any:
        return carry[0] + 1, step(*carry)

    return jax.lax.while_loop(lambda carry: carry[0] < times, body, (jnp.zeros((), jnp.int32), state))[1]
