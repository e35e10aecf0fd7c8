"""How a call of PyTorch is written with jaxloss: functions with PyTorch's parameters, in PyTorch's layout."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jaxloss

Loss = Callable[..., jax.Array]


def by_name(loss: Loss) -> Loss:
    """What follows the first array has PyTorch's names."""
    return lambda *, input, **given: loss(input, **given)


def of_classes(loss: Loss) -> Loss:
    """PyTorch's class axis is 1, or 0 for a single example."""
    return lambda *, input, **given: loss(input, axis=min(1, input.ndim - 1), **given)


def nll_loss(*, ignore_index: int = -100, **given: Any) -> jax.Array:
    return of_classes(jaxloss.nll_loss)(ignore_index=ignore_index, **given)


def cross_entropy(*, target: jax.Array, ignore_index: int = -100, **given: Any) -> jax.Array:
    if not jnp.issubdtype(target.dtype, jnp.floating):
        return of_classes(jaxloss.cross_entropy)(target=target, ignore_index=ignore_index, **given)
    if ignore_index != -100:
        given["ignore_index"] = ignore_index  # which is refused: probabilities have no index
    return of_classes(jaxloss.soft_target_cross_entropy)(target=target, **given)


def linear_cross_entropy(
    *,
    input: Any,
    linear_weight: Any,
    linear_bias: Any = None,
    ignore_index: int | None = None,
    **given: Any,
) -> jax.Array:
    index = -100 if ignore_index is None else ignore_index
    return jaxloss.linear_cross_entropy(input, linear_weight.T, bias=linear_bias, ignore_index=index, **given)


def triplet_margin_with_distance_loss(*, distance_function: Any = None, **given: Any) -> jax.Array:
    """PyTorch's samples have no distance but PairwiseDistance."""
    if distance_function is not None:
        given["distance_function"] = lambda x, y: jnp.linalg.norm(x - y + 1e-6, axis=-1)
    return jaxloss.triplet_margin_with_distance_loss(**given)


def ctc_loss(*, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, **given: Any) -> jax.Array:
    lengths = {"input_lengths": jnp.asarray(input_lengths), "target_lengths": jnp.asarray(target_lengths)}
    return jaxloss.ctc_loss(jnp.moveaxis(log_probs, 0, -2), targets, **lengths, **given)


ADAPTERS: dict[str, Loss] = {
    "binary_cross_entropy": by_name(jaxloss.binary_cross_entropy),
    "binary_cross_entropy_with_logits": by_name(jaxloss.binary_cross_entropy_with_logits),
    "cosine_embedding_loss": jaxloss.cosine_embedding_loss,
    "cross_entropy": cross_entropy,
    "ctc_loss": ctc_loss,
    "gaussian_nll_loss": by_name(jaxloss.gaussian_nll_loss),
    "hinge_embedding_loss": by_name(jaxloss.hinge_embedding_loss),
    "huber_loss": by_name(jaxloss.huber_loss),
    "kl_div": by_name(jaxloss.kl_div),
    "l1_loss": by_name(jaxloss.l1_loss),
    "linear_cross_entropy": linear_cross_entropy,
    "margin_ranking_loss": jaxloss.margin_ranking_loss,
    "mse_loss": by_name(jaxloss.mse_loss),
    "multi_margin_loss": of_classes(jaxloss.multi_margin_loss),
    "multilabel_margin_loss": by_name(jaxloss.multilabel_margin_loss),
    "multilabel_soft_margin_loss": by_name(jaxloss.multilabel_soft_margin_loss),
    "nll_loss": nll_loss,
    "poisson_nll_loss": by_name(jaxloss.poisson_nll_loss),
    "smooth_l1_loss": by_name(jaxloss.smooth_l1_loss),
    "soft_margin_loss": by_name(jaxloss.soft_margin_loss),
    "triplet_margin_loss": jaxloss.triplet_margin_loss,
    "triplet_margin_with_distance_loss": triplet_margin_with_distance_loss,
}


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
        return cross_entropy(input=logits, ignore_index=-100 if ignore_index is None else ignore_index, **given)

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
