"""Two dense layers and the divergence between the softmaxes of their logits, which never exist all at once.

By blocks of classes: a pass for the normalisers of both, one for the divergences, which are sums of a logarithm of both
normalisers, and one for the gradient, which is relative to a mean over the row. Each multiplies again.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from jaxloss._kernels.linear_cross_entropy.layout import (
    Layout,
    blocks_of_classes,
    blocks_of_tokens,
    explicit_layout,
    placed,
    size_of_block,
)
from jaxloss._numerics.jensen_shannon import Elements, elements_of, in_order_of, slope_of_beta, slopes_of
from jaxloss._numerics.loops import lanes_of, repeat
from jaxloss._numerics.online import (
    NO_PAIR_SUMS,
    PairSums,
    add_pair_sums,
    pair_sums_over,
    part_of_pair_sums,
    valid_pair_sums,
)
from jaxloss._numerics.passes import Passes, by_passes
from jaxloss._numerics.safe import safe_multiply
from jaxloss._numerics.shards import Shard, varying_together
from jaxloss._numerics.softmax import tempered
from jaxloss._numerics.xla import UPDATES_BFLOAT16_IN_PLACE, stay_in_loop
from jaxloss._typing import AxisName


class Dense(NamedTuple):
    """A layer: features that enter it, (tokens, features), its kernel, and its bias."""

    pred: Array
    kernel: Array
    bias: Array


def linear_jensen_shannon(
    student: Dense,
    teacher: Dense,
    beta: Array | float,
    temperature: Array | float,
    chunk_size: int | None,
    class_axis_name: AxisName | None,
) -> Array:
    """`generalized_jensen_shannon` of the logits of two layers, for features (*batch, features)."""
    dtype = max(student.bias.dtype, teacher.bias.dtype, key=lambda dtype: dtype.itemsize)
    mixed, pair = in_order_of(beta, student, teacher)
    numbers = {"beta": jnp.asarray(beta, dtype)}
    if isinstance(temperature, Array) or temperature != 1:
        numbers["temperature"] = jnp.asarray(temperature, dtype)
    rows = functools.partial(_rows, mixed, dtype, chunk_size)
    layout = explicit_layout(student.pred, student.kernel)
    if layout is not None:
        return _on_mesh(layout, rows, pair, numbers)
    rows = functools.partial(rows, class_axis_name)
    lanes = lanes_of(student.pred) if student.pred.ndim > 1 else 1
    if lanes == 1:
        return rows(pair, numbers)
    # A lane has tokens of its own, and a gradient of the kernels, which the devices add up once.
    shape = student.pred.shape[:-1]
    cut = [dense._replace(pred=dense.pred.reshape(lanes, shape[0] // lanes, *dense.pred.shape[1:])) for dense in pair]
    return jax.vmap(rows, ((Dense(0, None, None),) * 2, None))(tuple(cut), numbers).reshape(shape)  # pyright: ignore[reportArgumentType] axes


def _on_mesh(layout: Layout, rows: Any, pair: Any, numbers: Any) -> Array:
    """On an explicit mesh, where each device has some tokens, and the classes of the student's kernel."""
    layout = layout._replace(features=())
    laid = [placed(layout, dense.kernel, dense.bias, dense.pred, None) for dense in pair]
    pair = tuple(Dense(pred, kernel, bias) for kernel, bias, pred, _ in laid)
    specs = Dense(P(*layout.batch, None), P(None, layout.classes or None), P(layout.classes or None))  # pyright: ignore[reportArgumentType] specs
    local = functools.partial(rows, layout.classes or None)
    in_specs = (specs, specs), jax.tree.map(lambda _: P(), numbers)
    return jax.shard_map(local, mesh=layout.mesh, in_specs=in_specs, out_specs=P(*layout.batch))(pair, numbers)


class _How(NamedTuple):
    """What Python knows."""

    mixed: bool
    dtype: Any
    blocks: int
    # Of the classes of this device.
    shard: Shard

    @property
    def size(self) -> int:
        """Of a block."""
        return size_of_block(self.shard.size, self.blocks)

    def operand(self, dense: Dense) -> Any:
        """The dtype of what is multiplied."""
        return jnp.bfloat16 if dense.pred.dtype == dense.kernel.dtype == jnp.bfloat16 else self.dtype


def _rows(
    mixed: bool, dtype: Any, chunk_size: int | None, class_axis_name: AxisName | None, pair: Any, numbers: Any
) -> Array:
    """The divergence of each token."""
    classes, batch = pair[0].kernel.shape[1], pair[0].pred.shape[:-1]
    blocks, _ = blocks_of_tokens(math.prod(batch), chunk_size)
    shard = Shard(classes, class_axis_name)
    how = _How(mixed, dtype, blocks_of_classes(classes, blocks if chunk_size else None), shard)

    def flat(dense: Dense) -> Dense:
        # The devices that have other classes add up the gradient of the features, in this dtype.
        pred = dense.pred if class_axis_name is None else dense.pred.astype(dtype)
        return dense._replace(pred=pred.reshape(math.prod(batch), pred.shape[-1]))

    p, q = pair
    arrays = varying_together(_Arrays(flat(p), flat(q), numbers))
    return shard.sum(by_passes(_PASSES, how, arrays, ()).value).reshape(batch)


class _Arrays(NamedTuple):
    """What the divergence is differentiated to."""

    p: Dense
    q: Dense
    # The temperature, unless it is 1, and beta.
    numbers: dict[str, Array]


class _Known(NamedTuple):
    """Of each token: of the divergence the part of this device; and, of all classes, what the gradient is made of."""

    value: Array
    tops: PairSums
    p_mean: Array
    q_mean: Array


class _Block(NamedTuple):
    """The classes of a step, of one layer."""

    columns: Array
    bias: Array

    def logits(self, how: _How, tokens: Array, numbers: Any, is_new: Array) -> Array:
        """Those that an earlier block had, with which the last may begin, are impossible."""
        product = jnp.matmul(tokens, self.columns, preferred_element_type=how.dtype)
        logits = tempered(product + self.bias[None], numbers.get("temperature", 1.0))
        return jnp.where(is_new, logits, -jnp.inf)


class _Step(NamedTuple):
    """Where the classes of a step lie."""

    first: Array
    is_new: Array

    def take(self, how: _How, array: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(array, self.first, how.size, axis=-1)

    def put(self, how: _How, whole: Array, part: Array) -> Array:
        """Adds a part to a sum."""
        part = part.astype(whole.dtype) + self.take(how, whole)
        return jax.lax.dynamic_update_slice_in_dim(whole, part, self.first, axis=-1)


def _step(how: _How, step: Array) -> _Step:
    first = jnp.minimum(step * how.size, how.shard.size - how.size)
    return _Step(first, (first + jnp.arange(how.size, dtype=first.dtype) >= step * how.size)[None])


def _block(how: _How, dense: Dense, at: _Step, step: Array) -> _Block:
    columns = stay_in_loop(at.take(how, dense.kernel), step).astype(how.operand(dense))
    return _Block(columns, at.take(how, dense.bias))


def _tokens(how: _How, arrays: _Arrays) -> tuple[Array, Array]:
    """What is multiplied by the columns of a block."""
    return arrays.p.pred.astype(how.operand(arrays.p)), arrays.q.pred.astype(how.operand(arrays.q))


def _both_logits(how: _How, arrays: _Arrays, tokens: tuple[Array, Array], step: Array) -> tuple[Array, Array]:
    at = _step(how, step)
    p, q = (
        _block(how, dense, at, step).logits(how, x, arrays.numbers, at.is_new)
        for dense, x in zip(arrays[:2], tokens, strict=True)
    )
    return p, q


def _zero(how: _How, arrays: _Arrays) -> Array:
    """For each token, on every device on which the arrays lie."""
    return varying_together((jnp.zeros(arrays.p.pred.shape[:1], how.dtype), arrays))[0]


def _elements(how: _How, logits: Sequence[Array], numbers: Any, tops: PairSums) -> Elements:
    x, y = logits
    return elements_of(how.mixed, 1, x, y, numbers["beta"], tops)


def _value(how: _How, arrays: _Arrays, constants: Any) -> _Known:
    del constants
    tokens, zero = _tokens(how, arrays), _zero(how, arrays)

    def add_tops(step: Array, tops: PairSums) -> PairSums:
        part = part_of_pair_sums(*_both_logits(how, arrays, tokens, step), 1)
        return PairSums(*add_pair_sums(tops, part))

    none = PairSums(*(zero + number for number in NO_PAIR_SUMS))
    tops = pair_sums_over(how.shard, repeat(how.blocks, add_tops, none))
    tops = varying_together((valid_pair_sums(tops), zero))[0]

    def add_sums(step: Array, sums: Any) -> Any:
        of = _elements(how, _both_logits(how, arrays, tokens, step), arrays.numbers, tops)
        parts = of.terms, of.p * of.p_moved, of.q * of.q_moved
        return tuple(total + part.sum(-1) for total, part in zip(sums, parts, strict=True))

    value, *means = repeat(how.blocks, add_sums, (zero,) * 3)
    return _Known(value, tops, *varying_together((how.shard.sums(*means), zero))[0])


def _definition(how: _How, arrays: _Arrays, constants: Any, known: _Known) -> _Known:
    """The largest logits are constants, of which the value is no function."""
    del constants
    zero, checkpoint = _zero(how, arrays), functools.partial(jax.checkpoint, prevent_cse=False)

    @checkpoint
    def exponentials(step: Array, arrays: _Arrays) -> tuple[Array, ...]:
        x, y = _both_logits(how, arrays, _tokens(how, arrays), step)
        return tuple(
            jnp.exp(logits - largest[:, None]).sum(-1)
            for logits, largest in ((x, known.tops.largest_x), (y, known.tops.largest_y))
        )

    def add(part: Any, step: Array, sums: Any) -> Any:
        return jax.tree.map(jnp.add, sums, part(step, arrays))

    of_each = how.shard.sums(*repeat(how.blocks, functools.partial(add, exponentials), (zero, zero)))
    # The excess is known, with digits that the sums do not have: they are for its derivatives.
    moved_x, moved_y = varying_together((*(each - jax.lax.stop_gradient(each) for each in of_each), zero))[:2]
    tops = known.tops._replace(excess_x=known.tops.excess_x + moved_x, excess_y=known.tops.excess_y + moved_y)

    @checkpoint
    def terms(step: Array, given: Any) -> Array:
        arrays, tops = given
        return _elements(how, _both_logits(how, arrays, _tokens(how, arrays), step), arrays.numbers, tops).terms.sum(-1)

    value = repeat(how.blocks, lambda step, total: total + terms(step, (arrays, tops)), zero)
    return known._replace(value=value)


def _slopes(how: _How, arrays: _Arrays, known: _Known, logits: Sequence[Array]) -> tuple[Any, Array]:
    """To both logits, and to beta."""
    of = _elements(how, logits, arrays.numbers, known.tops)
    means = known.p_mean[:, None], known.q_mean[:, None]
    beta = arrays.numbers["beta"]
    of_beta = slope_of_beta(beta, of) if how.mixed else jnp.zeros_like(of.p)
    return slopes_of(how.mixed, beta, of, *means), of_beta


def _forward(how: _How, arrays: _Arrays, constants: Any, known: _Known, dots: _Arrays) -> _Known:
    del constants
    leaves, tree = jax.tree.flatten(arrays)
    dot_leaves = jax.tree.flatten(_Arrays(*dots), is_leaf=lambda leaf: leaf is None)[0]
    moving = [place for place, dot in enumerate(dot_leaves) if dot is not None]

    def add(step: Array, total: Array) -> Array:
        def logits(*some: Array) -> tuple[Array, Array]:
            at = dict(zip(moving, some, strict=True))
            moved = tree.unflatten([at.get(place, leaf) for place, leaf in enumerate(leaves)])
            return _both_logits(how, moved, _tokens(how, moved), step)

        both, logits_dots = jax.jvp(
            logits, [leaves[place] for place in moving], [dot_leaves[place] for place in moving]
        )
        slopes, of_beta = _slopes(how, arrays, known, both)
        for slope, dot in zip(slopes, logits_dots, strict=True):
            total += safe_multiply(slope, dot).sum(-1)
        if dots.numbers["beta"] is not None:
            total += of_beta.sum(-1) * dots.numbers["beta"]
        return total

    zeros = jax.tree.map(jnp.zeros_like, known)
    return zeros._replace(value=repeat(how.blocks, add, zeros.value))


def _backward(how: _How, arrays: _Arrays, constants: Any, known: _Known, cotangents: _Known) -> _Arrays:
    del constants
    tokens, weight = _tokens(how, arrays), cotangents.value[:, None]
    # As in `linear_cross_entropy`: inside the loop XLA:CPU would take the transpose into the product.
    transposed = [x.T for x in tokens]

    def add(step: Array, sums: _Arrays) -> _Arrays:
        at = _step(how, step)
        blocks = [_block(how, dense, at, step) for dense in arrays[:2]]
        logits = [block.logits(how, x, arrays.numbers, at.is_new) for block, x in zip(blocks, tokens, strict=True)]
        slopes, of_beta = _slopes(how, arrays, known, logits)
        slopes = [safe_multiply(weight, slope) for slope in slopes]
        numbers = {"beta": sums.numbers["beta"] + safe_multiply(weight, of_beta).sum()}
        if "temperature" in arrays.numbers:
            temperature = arrays.numbers["temperature"]
            slopes = [slope / temperature for slope in slopes]
            warmer = sum(jnp.sum(safe_multiply(slope, z)) for slope, z in zip(slopes, logits, strict=True))
            numbers["temperature"] = sums.numbers["temperature"] - warmer

        def grown(total: Dense, dense: Dense, block: _Block, x: Array, slope: Array) -> Dense:
            operand = slope.astype(how.operand(dense))
            product = functools.partial(jax.lax.dot_general, preferred_element_type=how.dtype)
            pred_part = product(operand, block.columns, (((1,), (1,)), ((), ())))
            kernel_part = jnp.matmul(x, operand, preferred_element_type=how.dtype)
            kernel, bias = at.put(how, total.kernel, kernel_part), at.put(how, total.bias, slope.sum(0))
            return Dense(total.pred + pred_part, kernel, bias)

        p, q = map(grown, sums[:2], arrays[:2], blocks, transposed, slopes)
        return _Arrays(p, q, numbers)

    def zeros(dense: Dense) -> Dense:
        # Each column of the kernel's gradient is complete in one step.
        kernel_dtype = dense.kernel.dtype if UPDATES_BFLOAT16_IN_PLACE else how.dtype
        return Dense(*map(jnp.zeros_like, dense, (how.dtype, kernel_dtype, how.dtype)))

    start = _Arrays(zeros(arrays.p), zeros(arrays.q), jax.tree.map(jnp.zeros_like, arrays.numbers))
    gradients = repeat(how.blocks, add, varying_together((start, arrays, cotangents))[0])
    return jax.tree.map(lambda gradient, array: gradient.astype(array.dtype), gradients, arrays)


_PASSES = Passes(_value, _definition, _forward, _backward)
