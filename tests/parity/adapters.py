"""How a call of PyTorch is written with jaxloss: functions with PyTorch's parameters, in PyTorch's layout."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jaxloss
from tests.catalogue.record import Record
from tests.parity.samples import RECORDS

Loss = Callable[..., jax.Array]


def adapter(record: Record) -> Loss:
    """PyTorch's `input` is the first array, its class axis 1, or 0 for a single example, and it ignores -100."""
    ignores = "ignore_index" in inspect.signature(record.loss).parameters

    def call(**given: Any) -> jax.Array:
        first = [given.pop("input")] if "input" in given else []
        axis = {"axis": min(1, first[0].ndim - 1)} if record.class_axis else {}
        ignored = {"ignore_index": -100} if ignores else {}
        return record.loss(*first, **axis, **ignored | given)

    return record.from_torch or call


ADAPTERS = {name: adapter(record) for name, record in RECORDS.items()}


# What to write instead, where the call as it stands is refused


def cast(loss: Loss) -> Loss:
    """Targets of integers as floats."""
    return lambda *, target, **given: loss(target=target.astype(float), **given)


def broadcast(*names: str) -> Callable[[Loss], Loss]:
    """What has fewer entries than the first array, repeated."""

    def written(loss: Loss) -> Loss:
        def call(**given: Any) -> jax.Array:
            shape = next(given[name] for name in ("input", "input1") if name in given).shape
            return loss(**given | {name: jnp.broadcast_to(given[name], shape) for name in names})

        return call

    return written


def one_class(loss: Loss) -> Loss:
    """A score alone is a row of one; the target of one example is a number, or a list of one."""

    def call(*, input: Any, target: Any, **given: Any) -> jax.Array:
        lists = loss is ADAPTERS["multilabel_margin_loss"]
        return loss(input=input.reshape(1), target=target.reshape((1,) if lists else ()), **given)

    return call


def batch_of_one(loss: Loss) -> Loss:
    """An axis of examples for the scores too, where the target has one."""
    return lambda *, input, **given: loss(input=input[None], **given)


def in_two_steps(loss: Loss) -> Loss:
    """The layer, then the loss of its logits, which leaves room for class probabilities and for more axes."""
    del loss

    def call(
        *,
        input: Any,
        linear_weight: Any,
        linear_bias: Any = 0.0,
        ignore_index: int | None = None,
        **given: Any,
    ) -> jax.Array:
        logits = jnp.tensordot(input, linear_weight, (-1, -1)) + linear_bias
        index = -100 if ignore_index is None else ignore_index
        return ADAPTERS["cross_entropy"](input=logits, ignore_index=index, **given)

    return call


def padded(loss: Loss) -> Loss:
    """Concatenated targets, each in a row of its own."""

    def call(*, targets: jax.Array, target_lengths: Any, **given: Any) -> jax.Array:
        lengths = jnp.asarray(target_lengths)[:, None]
        places = jnp.cumsum(lengths, 0) - lengths + jnp.arange(targets.size)
        rows = targets[jnp.minimum(places, targets.size - 1)]
        return loss(targets=rows, target_lengths=target_lengths, **given)

    return call


def weighted_elements(loss: Loss) -> Loss:
    """A weight for each element of an example."""
    del loss

    def call(*, input: Any, target: Any, weight: Any, reduction: str) -> jax.Array:
        values = jaxloss.binary_cross_entropy_with_logits(input, target, weight=weight, reduction="none").mean(-1)
        return getattr(jaxloss.reductions, reduction)(values)

    return call
