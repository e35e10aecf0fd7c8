"""What an anchor needs of all keys, by blocks of keys, with passes of their own for the derivatives."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import max_dim, min_dim
from jax.export import is_symbolic_dim

from jaxloss._numerics.loops import finite, lanes_of, repeat, zeros_like
from jaxloss._numerics.norms import row_lengths, unit_rows
from jaxloss._numerics.passes import Passes, by_passes
from jaxloss._numerics.safe import safe_divide
from jaxloss._numerics.shards import varying_together
from jaxloss._typing import AxisName

# What is made of a term: of an anchor over the keys, or of a key over the anchors.
LOG_SUM_EXP, SUM, LOG_SUM_EXP_OF_KEYS = "log sum exp", "sum", "log sum exp of keys"


class Pairs(NamedTuple):
    """How two sets of rows are compared. What it holds is known to Python, no array.

    `terms(similarity, numbers, anchors, keys)` returns an array of all pairs of a block for each of `kinds`, which say
    what becomes of it. What is known of an anchor has its shape, (anchors, 1), and what is known of a key (1, keys).
    """

    terms: Callable[[Array, dict[str, Array], dict[str, Array], dict[str, Array]], tuple[Array, ...]]
    kinds: tuple[str, ...]
    is_cosine: bool
    chunk_size: int | None
    precision: Any
    dtype: Any
    # Inside `shard_map`, the axes over which the keys lie, to be gathered block by block; None where they are whole.
    axis_name: AxisName | None = None

    def rows(self, rows: Array) -> Array:
        rows = rows.astype(self.dtype)
        return unit_rows(rows) if self.is_cosine else rows

    def scale(self, rows: Array) -> Array | None:
        """What makes a row of products one of similarities: no copy of the anchors is normalised."""
        return safe_divide(jnp.ones_like(rows[:, :1]), row_lengths(rows)[:, None]) if self.is_cosine else None

    def product(self, x: Array, y: Array) -> Array:
        """x y^T"""
        return jax.lax.dot_general(x, y, (((1,), (1,)), ((), ())), precision=self.precision)

    def product_of_slopes(self, slopes: Array, rows: Array) -> Array:
        return jnp.matmul(slopes, rows, precision=self.precision)


class Sets(NamedTuple):
    """What the sums are differentiated to."""

    x: Array
    y: Array | None  # None where rows are compared with each other.
    numbers: dict[str, Array]

    @property
    def keys(self) -> Array:
        return self.x if self.y is None else self.y


def log_of_sum(sums: Array, scale: Array) -> Array:
    """log(sums) + scale, -inf where there is nothing."""
    is_empty = sums == 0
    return jnp.where(is_empty, -jnp.inf, finite(scale) + jnp.log(jnp.where(is_empty, 1.0, sums)))


def log_add(*log_sums: Array) -> Array:
    """log(sum_i exp(x_i)), also where all are -inf."""
    scale = jax.lax.stop_gradient(functools.reduce(jnp.maximum, log_sums))
    return log_of_sum(functools.reduce(jnp.add, [jnp.exp(each - finite(scale)) for each in log_sums]), scale)


def log_sum_exp(logits: Array) -> Array:
    """Over the last axis, also where there is nothing but -inf."""
    scale = jax.lax.stop_gradient(logits.max(-1, initial=-jnp.inf))
    return log_of_sum(jnp.sum(jnp.exp(logits - finite(scale)[..., None]), -1), scale)


def pair_sums(
    pairs: Pairs,
    x: Array,
    y: Array | None,
    numbers: dict[str, Array],
    anchors: dict[str, Array],
    keys: dict[str, Array],
) -> tuple[Array, ...]:
    """One array for each of `pairs.kinds`, of anchors x (n, features) and keys y (m, features), or x again.

    `numbers` are options, which are differentiated too; `anchors` and `keys` hold integers or booleans of each row.
    Four products a block: the similarities once for the value, once for the gradient. Nothing of all pairs is held.
    """
    head, anchors, keys = varying_together((Sets(x, y, numbers), anchors, keys))
    if any(not is_symbolic_dim(rows.shape[0]) and not rows.shape[0] for rows in (x, head.keys)):
        zeros = zip(pairs.kinds, _zeros(pairs, head), strict=True)
        return tuple(each if kind == SUM else each - jnp.inf for kind, each in zeros)
    return tuple(by_passes(_PASSES, pairs, head, (anchors, keys)))


class _Place(NamedTuple):
    """Where a block lies in an array: so many rows of each lane.

    A lane is what one device of a mesh has: a block takes rows of all, so that each does its part of every step.
    """

    lanes: Any
    first: Array
    size: Any

    def take(self, whole: Array) -> Array:
        part = jax.lax.dynamic_slice_in_dim(self._in_lanes(whole), self.first, self.size, 1)
        return part.reshape(self.lanes * self.size, *whole.shape[1:])

    def put(self, whole: Array, part: Array) -> Array:
        part = part.reshape(self.lanes, self.size, *whole.shape[1:])
        return jax.lax.dynamic_update_slice_in_dim(self._in_lanes(whole), part, self.first, 1).reshape(whole.shape)

    def is_new(self, step: Array) -> Array:
        """The last block begins with rows of the one before it."""
        index = self.first + jnp.arange(self.size, dtype=self.first.dtype)
        return jnp.tile(index >= step * self.size, self.lanes)

    def _in_lanes(self, whole: Array) -> Array:
        return whole.reshape(self.lanes, whole.shape[0] // self.lanes, *whole.shape[1:])


def rows_in_blocks(rows: Any, lanes: Any, chunk_size: int | None = None) -> tuple[Any, Callable[[Array], _Place]]:
    """How many blocks there are, and where each lies."""
    each = rows // lanes
    size = max_dim(min_dim(max_dim((chunk_size or max_dim(256, rows // 64)) // lanes, 1), each), 1)
    return -(-each // size), lambda step: _Place(lanes, jnp.minimum(step * size, each - size), size)


class _Block(NamedTuple):
    """The keys of a step."""

    place: _Place
    rows: Array
    known: dict[str, Array]
    is_new: Array
    axis_name: AxisName | None

    def terms(
        self, pairs: Pairs, product: Array, scale: Array | None, numbers: dict[str, Array], anchors: Any
    ) -> list[Array]:
        product = product if scale is None else product * scale
        terms = pairs.terms(product, numbers, {name: each[:, None] for name, each in anchors.items()}, self.known)
        return [
            jnp.where(self.is_new[None], term, 0.0 if kind == SUM else -jnp.inf)
            for kind, term in zip(pairs.kinds, terms, strict=True)
        ]

    def sums(
        self,
        pairs: Pairs,
        known: Sequence[Array],
        product: Array,
        scale: Array | None,
        numbers: dict[str, Array],
        anchors: Any,
    ) -> list[Array]:
        """Of exponentials by a scale that is known, and of others as they are."""

        def total(kind: str, term: Array, scale: Array) -> Array:
            if kind == SUM:
                return jnp.sum(term, 1)
            if kind == LOG_SUM_EXP:
                return jnp.sum(jnp.exp(term - finite(scale)[:, None]), 1)
            return jnp.sum(jnp.exp(term - finite(self.of_keys(scale))), 0)

        return list(map(total, pairs.kinds, self.terms(pairs, product, scale, numbers, anchors), known))

    def of_keys(self, whole: Array) -> Array:
        return self.place.take(whole)[None]

    def put(self, whole: Array, part: Array) -> Array:
        """Puts a part in its place; keys of the block before keep what they have."""
        return self.place.put(whole, jnp.where(self.is_new, part, self.place.take(whole)))

    def add_rows(self, whole: Array, part: Array) -> Array:
        """Adds the gradient of the keys to what this device, or the only one, has of it."""
        place, part = self.place, part.astype(whole.dtype)
        if self.axis_name is not None:
            part, place = jax.lax.psum_scatter(part, self.axis_name, tiled=True), place._replace(lanes=1)
        return place.put(whole, place.take(whole) + part)


def _lanes(pairs: Pairs, head: Sets) -> Any:
    return lanes_of(head.keys) if pairs.axis_name is None else jax.lax.axis_size(pairs.axis_name)


def _steps(pairs: Pairs, head: Sets) -> tuple[Any, Callable[[Array], _Place]]:
    keys, lanes = head.keys.shape[0], _lanes(pairs, head)
    return rows_in_blocks(keys if pairs.axis_name is None else keys * lanes, lanes, pairs.chunk_size)


def _raw_rows(pairs: Pairs, place: _Place, keys: Array) -> Array:
    if pairs.axis_name is None:
        return place.take(keys)
    return jax.lax.all_gather(place._replace(lanes=1).take(keys), pairs.axis_name, tiled=True)


def _block(pairs: Pairs, head: Sets, keys: dict[str, Array], step: Array) -> _Block:
    place = _steps(pairs, head)[1](step)
    rows = pairs.rows(_raw_rows(pairs, place, head.keys))
    known = {name: place.take(each)[None] for name, each in keys.items()}
    return _Block(place, rows, known, place.is_new(step), pairs.axis_name)


def _zeros(pairs: Pairs, head: Sets) -> list[Array]:
    """What a loop adds to, on the devices on which the rows lie."""

    def each(kind: str) -> Array:
        rows = head.keys if kind == LOG_SUM_EXP_OF_KEYS else head.x
        zeros = zeros_like(rows[:, 0], pairs.dtype, _zero(head))
        whole = kind == LOG_SUM_EXP_OF_KEYS and pairs.axis_name is not None
        return jnp.tile(zeros, _lanes(pairs, head)) if whole else zeros

    return list(map(each, pairs.kinds))


def _zero(head: Sets) -> Array:
    return 0 * jnp.sum(jnp.isnan(head.x[:1, :1]))


def _value(pairs: Pairs, head: Sets, constants: Any) -> list[Array]:
    anchors, keys = constants
    x, (blocks, _) = head.x.astype(pairs.dtype), _steps(pairs, head)
    scale = pairs.scale(x)

    def add(step: Array, states: Any) -> Any:
        block = _block(pairs, head, keys, step)
        terms = block.terms(pairs, pairs.product(x, block.rows), scale, head.numbers, anchors)
        return [
            grown(block, term, *state)
            for grown, term, state in zip([_GROWN[kind] for kind in pairs.kinds], terms, states, strict=True)
        ]

    zeros = _zeros(pairs, head)
    states = [
        (each - jnp.inf, each) if kind == LOG_SUM_EXP else (each - jnp.inf,) if kind == LOG_SUM_EXP_OF_KEYS else (each,)
        for kind, each in zip(pairs.kinds, zeros, strict=True)
    ]
    states = repeat(blocks, add, states)
    return [log_of_sum(state[1], state[0]) if len(state) == 2 else state[0] for state in states]


def _grown_log_sum_exp(block: _Block, term: Array, largest: Array, total: Array) -> tuple[Array, ...]:
    grown = jnp.maximum(largest, term.max(1))
    scale = finite(grown)
    return grown, total * jnp.exp(largest - scale) + jnp.sum(jnp.exp(term - scale[:, None]), 1)


def _grown_log_sum_exp_of_keys(block: _Block, term: Array, whole: Array) -> tuple[Array, ...]:
    largest = term.max(0, initial=-jnp.inf)
    return (block.put(whole, log_of_sum(jnp.sum(jnp.exp(term - finite(largest)[None]), 0), largest)),)


_GROWN: dict[str, Callable[..., tuple[Array, ...]]] = {
    LOG_SUM_EXP: _grown_log_sum_exp,
    SUM: lambda block, term, total: (total + jnp.sum(term, 1),),
    LOG_SUM_EXP_OF_KEYS: _grown_log_sum_exp_of_keys,
}


def _added(pairs: Pairs, block: _Block, states: Any, sums: Any) -> list[Array]:
    return [
        block.put(state, part) if kind == LOG_SUM_EXP_OF_KEYS else state + part
        for kind, state, part in zip(pairs.kinds, states, sums, strict=True)
    ]


def _definition(pairs: Pairs, head: Sets, constants: Any, known: Any) -> list[Array]:
    anchors, keys = constants
    x, (blocks, _) = pairs.rows(head.x), _steps(pairs, head)

    def add(step: Array, states: Any) -> Any:
        block = _block(pairs, head, keys, step)

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def sums(x: Array, rows: Array, numbers: dict[str, Array]) -> list[Array]:
            return block.sums(pairs, known, pairs.product(x, rows), None, numbers, anchors)

        return _added(pairs, block, states, sums(x, block.rows, head.numbers))

    totals = repeat(blocks, add, _zeros(pairs, head))
    return [
        total if kind == SUM else log_of_sum(total, scale)
        for kind, total, scale in zip(pairs.kinds, totals, known, strict=True)
    ]


def _forward(pairs: Pairs, head: Sets, constants: Any, known: Any, dots: Any) -> list[Array]:
    anchors, keys = constants
    dots, (blocks, _) = Sets(*dots), _steps(pairs, head)
    x, x_dot = pairs.rows(head.x), None
    if dots.x is not None:
        x, x_dot = jax.jvp(pairs.rows, (head.x,), (dots.x,))
    moving = {name: dot for name, dot in dots.numbers.items() if dot is not None}
    y_dot = dots.x if head.y is None else dots.y

    def add(step: Array, states: Any) -> Any:
        block = _block(pairs, head, keys, step)
        product, product_dot = pairs.product(x, block.rows), jnp.zeros((), x.dtype)
        if x_dot is not None:
            product_dot += pairs.product(x_dot, block.rows)
        if y_dot is not None:

            def rows(y: Array) -> Array:
                return _block(pairs, head._replace(y=y), keys, step).rows

            product_dot += pairs.product(x, jax.jvp(rows, (head.keys,), (y_dot,))[1])

        def sums(product: Array, some: dict[str, Array]) -> list[Array]:
            return block.sums(pairs, known, product, None, head.numbers | some, anchors)

        at = {name: head.numbers[name] for name in moving}
        product_dot = jnp.broadcast_to(product_dot, product.shape)
        return _added(pairs, block, states, jax.jvp(sums, (product, at), (product_dot, moving))[1])

    return repeat(blocks, add, _zeros(pairs, head))


def _backward(pairs: Pairs, head: Sets, constants: Any, known: Any, cotangents: Any) -> Sets:
    """The sums grow where the gradients will lie."""
    anchors, keys = constants
    blocks, _ = _steps(pairs, head)
    x = head.x.astype(pairs.dtype)
    scale = pairs.scale(x)

    def add(step: Array, totals: Sets) -> Sets:
        block = _block(pairs, head, keys, step)
        _, to_rows = jax.vjp(pairs.rows, _raw_rows(pairs, block.place, head.keys))

        def weighed(product: Array, numbers: dict[str, Array]) -> Array:
            sums = block.sums(pairs, known, product, scale, numbers, anchors)
            each = [
                block.of_keys(cotangent)[0] if kind == LOG_SUM_EXP_OF_KEYS else cotangent
                for kind, cotangent in zip(pairs.kinds, cotangents, strict=True)
            ]
            return functools.reduce(jnp.add, [jnp.sum(one * total) for one, total in zip(each, sums, strict=True)])

        slopes, of_numbers = jax.grad(weighed, (0, 1))(pairs.product(x, block.rows), head.numbers)
        (of_keys,) = to_rows(pairs.product_of_slopes(slopes.T, x))
        of_x = totals.x + pairs.product_of_slopes(slopes, block.rows)
        return Sets(
            block.add_rows(of_x, of_keys) if totals.y is None else of_x,
            None if totals.y is None else block.add_rows(totals.y, of_keys),
            jax.tree.map(jnp.add, totals.numbers, of_numbers),
        )

    zeros = jax.tree.map(lambda each: zeros_like(each, each.dtype, _zero(head)), head._replace(x=x))
    totals = repeat(blocks, add, zeros)
    return totals._replace(x=_across(pairs, head.x, totals.x).astype(head.x.dtype))


def _across(pairs: Pairs, x: Array, slopes: Array) -> Array:
    """Of slopes to rows whose length does not count, what is across the rows. A few at a time, in place."""
    if not pairs.is_cosine:
        return slopes
    blocks, at = rows_in_blocks(x.shape[0], lanes_of(x))

    def project(step: Array, slopes: Array) -> Array:
        place = at(step)
        rows, part = pairs.rows(place.take(x)), place.take(slopes)
        return place.put(slopes, part - rows * jnp.sum(rows * part, -1, keepdims=True))

    return repeat(blocks, project, slopes)


_PASSES = Passes(_value, _definition, _forward, _backward)
