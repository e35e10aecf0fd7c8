"""Several losses as one."""

import functools
import itertools
import operator
from collections.abc import Mapping
from typing import Any

from jax import Array
from jaxtyping import Float, Real

from jaxloss._contracts import Contract
from jaxloss._typing import ArrayLike


def weighted_sum(
    losses: Mapping[str, Float[ArrayLike, "*batch"]],
    weights: Mapping[str, Real[ArrayLike, ""]] | None = None,
) -> tuple[Float[Array, "*batch"], dict[str, Array]]:
    r"""The weighted sum of named losses, and the losses themselves, unweighted, to be logged:

        total = sum_k weights[k] losses[k]

    The pair is what `jax.value_and_grad(..., has_aux=True)` wants.

    Args:
        losses: losses by name, floating and all of one shape (usually scalars).
        weights: one number for each name, which may be traced; None for 1 each.

    Returns:
        The total, and the losses by name; in float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract.
        TypeError: `losses` or `weights` is not a mapping, or a name is not a string.
        ValueError: no losses, or a name that only one of the two has.

    PyTorch: none.

    >>> total, losses = weighted_sum({"bce": 0.5, "dice": 0.25}, {"bce": 0.5, "dice": 2.0})
    >>> print(total)
    0.75
    """
    contract = Contract("weighted_sum")
    _require_names(losses=losses)
    if weights is not None:
        _require_names(weights=weights)
    if not losses:
        raise ValueError("weighted_sum: `losses` must hold at least one loss.")
    weights = dict.fromkeys(losses, 1.0) if weights is None else weights
    if unpaired := sorted(losses.keys() ^ weights.keys()):
        raise ValueError(f"weighted_sum: `losses` and `weights` must have the same names, only one has {unpaired}.")
    checked = dict(zip(losses, contract.floats(**losses), strict=True))

    def term(name: str, loss: Array) -> Array:
        contract.dtype = loss.dtype
        return contract.any_number(**{name: weights[name]}) * loss

    return functools.reduce(operator.add, itertools.starmap(term, checked.items())), checked


def _require_names(**options: Any) -> None:
    """A mapping from names to numbers."""
    ((name, value),) = options.items()
    if not isinstance(value, Mapping):
        hint = f'Name each: {name}={{"bce": ..., "dice": ...}}.'
        raise TypeError(f"weighted_sum: `{name}` must be a mapping by name, got {type(value).__name__}. {hint}")
    if wrong := [key for key in value if not isinstance(key, str)]:
        raise TypeError(f"weighted_sum: the names in `{name}` must be strings, got {wrong}.")
