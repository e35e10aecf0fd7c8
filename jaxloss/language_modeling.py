"""Language models: large vocabularies."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Int

from jaxloss._contracts import Contract
from jaxloss._numerics import expand, fill_hidden
from jaxloss.classification import INDICES, ignored, index_cross_entropy
from jaxloss.reductions import Reduction, resolve


def linear_cross_entropy(
    pred: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features classes"],
    target: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " classes"] | None = None,
    weight: Float[ArrayLike, " classes"] | None = None,
    ignore_index: Int[ArrayLike, ""] | int | None = None,
    label_smoothing: Float[ArrayLike, ""] | float = 0.0,
    where: Bool[ArrayLike, "*batch"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "*reduced"]:
    r"""A dense layer and the cross-entropy of its logits:

        loss = cross_entropy(pred @ kernel + bias, target)

    Args:
        pred: features that enter the last layer of the model, floating.
        kernel: its weights, floating, as Flax's `Dense` and `Linear` keep them.
        target: class indices in [0, classes), integer, of the shape of `pred` without its last axis. An index out of
            range, negative ones too, gives NaN in value and gradient.
        bias: one number for each class; None for none.
        weight: one number at least 0 for each class.
        ignore_index: a class index that counts for nothing; None for no such index (PyTorch's default is -100).
        label_smoothing: in [0, 1], the part of the target that is spread evenly over the classes. May be traced.
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

    Reference: E. Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, arXiv:2411.09009.

    >>> features, kernel = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> print(f"{linear_cross_entropy(features, kernel, jnp.array([1])):.4f}")
    0.4076
    """
    contract = Contract("linear_cross_entropy")
    resolve(contract.function, reduction)
    pred, kernel, bias = contract.dense(pred=pred, kernel=kernel, bias=bias)
    target = contract.class_indices(pred, pred.ndim - 1, target, INDICES)
    keep = ignored(contract, target, ignore_index, where)
    (target,) = fill_hidden(keep, 0, target)
    (pred,) = fill_hidden(expand(-1, keep), 0.0, pred)
    contract.check_labels(target, kernel.shape[1])
    logits = jnp.matmul(pred, kernel) + bias
    return index_cross_entropy(contract, logits, target, logits.ndim - 1, weight, label_smoothing, keep, reduction)
