"""Language models: large vocabularies, and log-probabilities of tokens, from which preferences and policies learn."""

from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec
from jaxtyping import Bool, Float, Integer, Real

from jaxloss._call import INDICES, Call
from jaxloss._eager import compiled_when_eager
from jaxloss._kernels.linear_cross_entropy import (
    Blocks,
    linear_cross_entropy_in_blocks,
    token_log_probs_in_blocks,
)
from jaxloss._kernels.linear_cross_entropy.layer import Options
from jaxloss._kernels.linear_cross_entropy.layout import Layout, named_layout
from jaxloss._numerics.labels import is_class
from jaxloss._numerics.safe import nan_unless
from jaxloss._numerics.shards import Shard
from jaxloss._numerics.softmax import entropy, negative_log_likelihood, softcapped, tempered
from jaxloss._typing import ArrayLike, AxisName
from jaxloss.reductions import Reduction


@compiled_when_eager
def linear_cross_entropy(
    pred: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "kernel_features classes"],
    target: Integer[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " classes"] | None = None,
    weight: Real[ArrayLike, " classes"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    label_smoothing: Real[ArrayLike, ""] = 0.0,
    z_loss: Real[ArrayLike, ""] = 0.0,
    logit_softcap: Real[ArrayLike, ""] | None = None,
    chunk_size: int | None = None,
    blocks: Literal["tokens", "classes"] | None = None,
    precision: jax.lax.PrecisionLike = None,
    num_classes: int | None = None,
    batch_spec: PartitionSpec | None = None,
    feature_axis_name: AxisName | None = None,
    class_axis_name: AxisName | None = None,
    sample_weight: Real[ArrayLike, "*#batch"] | None = None,
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

    Features and a kernel of the same half precision are multiplied as they are, and their gradients are summed in
    float32, which takes memory as well. Any others are multiplied in the wider dtype, float32 at least, as JAX and Flax
    promote: bfloat16 features and a float32 kernel in float32. For a product in bfloat16 cast the kernel,
    `kernel.astype(jnp.bfloat16)`, as a Flax layer with `dtype=jnp.bfloat16` does.

    Blocks of classes hold some classes and all tokens, so that no gradient of the kernel is summed over blocks: less
    memory, in four products, since the logits are computed twice; in bfloat16 their gradient is rounded before the
    products, as that of a layer without blocks is. They are the default for a bfloat16 layer (from jax 0.11.2 on), and
    wherever the kernel is sharded.

    On an explicit mesh the types say how the arrays lie. Inside `shard_map` name the axes of the kernel:
    `class_axis_name`, and for FSDP `feature_axis_name`; on an automatic mesh the axes of the tokens too, `batch_spec`.
    Then each device has its tokens, its classes, and of these the whole features one block at a time: they are gathered
    twice, the gradient is scattered once, and the devices add up once what else they have in common. Without these
    names an automatic mesh shards the first axis of the tokens alone, and may gather the rest.

    `jax.export` takes a batch of symbolic size, in blocks of the sizes that a known one would have; but blocks of
    classes then have their default size.

    Args:
        pred: features that enter the last layer of the model, floating.
        kernel: its weights, floating, as Flax's `Dense` and `Linear` keep them.
        target: class indices in [0, classes), integer, of the shape of `pred` without its last axis. An index out of
            range, also a negative one, gives NaN in value and gradient.
        bias: one number for each class; None for none.
        weight: one number at least 0 for each class; 0 rescales and does not hide (0 times NaN is NaN).
        ignore_index: a class index whose rows are ignored; None for no such index (PyTorch's default is -100).
        label_smoothing: in [0, 1], the part of the target that is spread evenly over the classes. May be traced.
        z_loss: at least 0, the coefficient of the squared logarithm of the sum of exponentials, which keeps logits from
            drifting. It counts as the smoothing does, whatever the weight of the label. May be traced.
        logit_softcap: greater than 0, the bound of the logits' absolute value; None or infinite for no bound. May be
            traced.
        chunk_size: how many tokens a block takes, on each device of a sharded batch; a Python integer. None for 1/64 of
            them, but at least 128. A smaller one needs less memory, a larger one may be faster: two arrays of
            (chunk_size, classes) are kept. But a block takes at least 1/1024 of the tokens: more blocks would save
            nothing next to the features, and cost digits of the gradients. A block of classes takes as many as give it
            this size; None for 1/256 of the classes, but at least 512.
        blocks: "tokens" or "classes", what a block takes some of; None for "tokens", with three products, but where
            the kernel is sharded, and in bfloat16, for "classes", with less memory. A kernel whose classes are sharded
            takes "classes".
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16
            and on an NVIDIA GPU in TensorFloat-32: about three decimal digits.
        num_classes: how many of the kernel's classes exist, a Python integer; the last ones are padding, to a size that
            a mesh divides: their logits are -inf, their gradient is 0, smoothing does not count them, and a label that
            names one is out of range. None for all.
        batch_spec: on an automatic mesh, set by `jax.set_mesh`, how `target` lies, as `PartitionSpec("data")`. Then the
            axis names below are those of the whole arrays. None otherwise.
        feature_axis_name: the mesh axis, or several, on which the features of the kernel lie, as FSDP shards them,
            inside `shard_map` or with `batch_spec`; it shards the tokens too. None if each device has all features.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `kernel`, `bias` and `weight`. Indices count all classes.
            With `batch_spec` the same of whole arrays. None if each device has all.
        sample_weight: numbers at least 0 that broadcast to the unreduced loss: each loss times its weight, and the mean
            divides by their sum. A weight of 0 hides a loss as `where` does. None for 1 each. May be traced.
        where: booleans that broadcast to the unreduced loss; positions where it is False are ignored.
        reduction: "mean", "sum", "none" or a callable `(values, weights)`, see `jaxloss.reductions`.

    Returns:
        The mean, the sum, or an array of the shape of `target`; float32 for half-precision inputs.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, an unknown `reduction`, or axes that the mesh does not have.
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
    layout, feature_axis_name, class_axis_name = _layout(
        "linear_cross_entropy", batch_spec, feature_axis_name, class_axis_name
    )
    call = Call("linear_cross_entropy", sample_weight, where, reduction, class_axis_name=class_axis_name)
    feature_axes = call.mesh_axes(feature_axis_name=feature_axis_name)
    pred, kernel, bias = call.dense(pred, kernel, bias, feature_axes)
    labels = _labels(call, pred, kernel, bias, target, ignore_index, num_classes)
    weight = None if weight is None else call.one_per_class(kernel.shape[1], weight=weight)
    if labels.exists is not None:
        weight = jnp.where(labels.exists, jnp.ones_like(bias) if weight is None else weight, 0.0)
    options = Options(
        bias=bias,
        weight=weight,
        smoothing=call.fraction(label_smoothing=label_smoothing),
        z_loss=call.nonnegative(z_loss=z_loss),
        softcap=None if logit_softcap is None else call.positive(logit_softcap=logit_softcap),
        padding=labels.padding,
    )
    how = Blocks(
        _blocks(call, blocks),
        call.chunk_size(chunk_size),
        call.precision(precision),
        labels.padded,
        feature_axes,
        layout,
    )
    return linear_cross_entropy_in_blocks(call, labels.pred, kernel, labels.target, options, how)


@overload
def token_log_probs(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    logit_softcap: Real[ArrayLike, ""] | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    with_entropy: Literal[False] = False,
    class_axis_name: AxisName | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, "*batch"]: ...


@overload
def token_log_probs(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    logit_softcap: Real[ArrayLike, ""] | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    with_entropy: Literal[True],
    class_axis_name: AxisName | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]: ...


@compiled_when_eager
def token_log_probs(
    pred: Float[ArrayLike, "*shape"],
    target: Integer[ArrayLike, "*batch"],
    *,
    axis: int = -1,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    logit_softcap: Real[ArrayLike, ""] | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    with_entropy: bool = False,
    class_axis_name: AxisName | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, "*batch"] | tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    r"""Log-probabilities of the tokens that were chosen, and how undecided the model was: arrays, no loss.

        logits  = softcap(pred) / T          softcap(x) = c tanh(x / c), T = temperature
        log p_y = logits_y - log(sum_c exp(logits_c))
        H       = -sum_c p_c log p_c         with_entropy=True

    What the losses of `jaxloss.policy` take token by token, and those of `jaxloss.preference` as sums or means over
    the tokens of a response: `token_log_probs(...).sum(-1)`, where a hidden token adds 0; for the mean divide by the
    tokens that count. The temperature is the one that the tokens were sampled with: it divides after the cap.

    A probability next to 1 has the digits of its logarithm, which is not 0 before it must be. An impossible class, of
    logit -inf, adds nothing to the entropy, which is 0 where one class is possible; its gradient is finite there too.

    Args:
        pred: logits, floating, with the classes on `axis`.
        target: class indices in [0, classes), integer, of the shape of `pred` without `axis`. An index out of range,
            also a negative one, gives NaN in values and gradient.
        axis: the class axis of `pred`; 1 for PyTorch's layout.
        ignore_index: a class index whose tokens are hidden; None for no such index (PyTorch's default is -100).
        logit_softcap: greater than 0, the bound of the logits' absolute value; None or infinite for no bound. May be
            traced.
        temperature: greater than 0, what the logits are divided by. May be traced.
        with_entropy: whether the entropy is returned too; a Python boolean.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh. Indices count all classes. None if each device has all.
        where: booleans that broadcast to `target`; a token where it is False is hidden, with log-probability 0,
            entropy 0 and gradient 0.

    Returns:
        An array of the shape of `target`, or with `with_entropy` a pair of two, the entropy in nats; float32 for
        half-precision inputs, float64 for float64.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number `temperature` or `logit_softcap` not above 0, or no such axis.
        JaxRuntimeError: under `chex.chexify`, an index out of range, or probabilities in place of logits.

    PyTorch: `-torch.nn.functional.cross_entropy(..., reduction="none")`, and `torch.distributions.Categorical`.

    Elsewhere: TRL's `selective_log_softmax` (in bfloat16 for bfloat16 logits) and `entropy_from_logits` (NaN with a
    logit of -inf), verl's `logprobs_from_logits` and `entropy_from_logits`, tunix's `selective_log_softmax` (a
    temperature of 0 is taken as 1; here it is refused).

    Reference: sampling at a temperature and the entropy bonus: R. J. Williams and J. Peng, Function Optimization Using
    Connectionist Reinforcement Learning Algorithms, 1991, doi:10.1080/09540099108946587; the cap: Gemma Team,
    arXiv:2408.00118.

    >>> logits = jnp.array([0.0, 1.0, -jnp.inf])
    >>> log_prob, entropy = token_log_probs(logits, 1, with_entropy=True)
    >>> print(f"{log_prob:.4f} {entropy:.4f}")
    -0.3133 0.5822
    """
    call = Call("token_log_probs", None, where, "none", class_axis_name=class_axis_name)
    pred, target, axis = call.labelled(INDICES, axis, ignore_index, pred=pred, target=target)
    if logit_softcap is not None:
        pred = softcapped(pred, call.positive(logit_softcap=logit_softcap))
    pred = tempered(pred, call.positive(temperature=temperature))
    log_probs = call.reduce(-negative_log_likelihood(pred, target, axis, call.class_axis_name))
    if not with_entropy:
        return log_probs
    is_label = nan_unless(is_class(target, call.count_classes(axis, pred=pred)))
    return log_probs, call.reduce(entropy(pred, axis, call.class_axis_name) * is_label)


@overload
def linear_token_log_probs(
    pred: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "kernel_features classes"],
    target: Integer[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " classes"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    logit_softcap: Real[ArrayLike, ""] | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    with_entropy: Literal[False] = False,
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    num_classes: int | None = None,
    batch_spec: PartitionSpec | None = None,
    feature_axis_name: AxisName | None = None,
    class_axis_name: AxisName | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, "*batch"]: ...


@overload
def linear_token_log_probs(
    pred: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "kernel_features classes"],
    target: Integer[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " classes"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    logit_softcap: Real[ArrayLike, ""] | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    with_entropy: Literal[True],
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    num_classes: int | None = None,
    batch_spec: PartitionSpec | None = None,
    feature_axis_name: AxisName | None = None,
    class_axis_name: AxisName | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]: ...


@compiled_when_eager
def linear_token_log_probs(
    pred: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "kernel_features classes"],
    target: Integer[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " classes"] | None = None,
    ignore_index: Integer[ArrayLike, ""] | None = None,
    logit_softcap: Real[ArrayLike, ""] | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    with_entropy: bool = False,
    chunk_size: int | None = None,
    precision: jax.lax.PrecisionLike = None,
    num_classes: int | None = None,
    batch_spec: PartitionSpec | None = None,
    feature_axis_name: AxisName | None = None,
    class_axis_name: AxisName | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, "*batch"] | tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    r"""The log-probabilities and entropies of `token_log_probs` from features and a dense layer, without the logits:

        logits  = softcap(pred @ kernel + bias) / T          softcap(x) = c tanh(x / c), T = temperature
        log p_y = logits_y - log(sum_c exp(logits_c))
        H       = -sum_c p_c log p_c                         with_entropy=True

    Blocks hold all tokens and some classes, which are multiplied twice, for the value and for the gradient: four
    products in all, and in memory one block and no second gradient of the kernel. Gradients are exact for whatever the
    log-probabilities and the entropies are made into, to features, kernel, bias, temperature and cap; forward mode and
    second order compute the logits again.

    Features and a kernel of the same half precision are multiplied as they are; in bfloat16 the gradient of the logits
    is rounded before the products, as that of a layer without blocks is. Any others are multiplied in the wider dtype,
    float32 at least: for a product in bfloat16 cast the kernel, `kernel.astype(jnp.bfloat16)`.

    The layouts are those of `linear_cross_entropy`: on an explicit mesh the types say how the arrays lie; inside
    `shard_map` name the axes of the kernel, on an automatic mesh those of the tokens too, `batch_spec`. Then each
    device has its tokens and its classes, and whole features of one block at a time. Without these names an automatic
    mesh may gather what is sharded.

    Args:
        pred: features that enter the last layer of the model, floating.
        kernel: its weights, floating, as Flax's `Dense` and `Linear` keep them.
        target: class indices in [0, classes), integer, of the shape of `pred` without its last axis. An index out of
            range, also a negative one, gives NaN in values and gradient.
        bias: one number for each class; None for none.
        ignore_index: a class index whose tokens are hidden; None for no such index (PyTorch's default is -100).
        logit_softcap: greater than 0, the bound of the logits' absolute value; None or infinite for no bound. May be
            traced.
        temperature: greater than 0, what the logits are divided by, after the cap. May be traced.
        with_entropy: whether the entropy is returned too; a Python boolean.
        chunk_size: a block takes as many classes as make it as large as the logits of this many tokens; a Python
            integer. None for 1/256 of the classes, but at least 512.
        precision: of all products, as `jax.lax.dot` takes it: None, "default", "high", "highest", a `jax.lax.Precision`
            or a `jax.lax.DotAlgorithmPreset`. JAX's default, None, multiplies float32 on a TPU in one pass of bfloat16
            and on an NVIDIA GPU in TensorFloat-32: about three decimal digits.
        num_classes: how many of the kernel's classes exist, a Python integer; the last ones are padding, to a size that
            a mesh divides: their logits are -inf, their gradient is 0, and a label that names one is out of range. None
            for all.
        batch_spec: on an automatic mesh, set by `jax.set_mesh`, how `target` lies, as `PartitionSpec("data")`. Then the
            axis names below are those of the whole arrays. None otherwise.
        feature_axis_name: the mesh axis, or several, on which the features of the kernel lie, as FSDP shards them,
            inside `shard_map` or with `batch_spec`; it shards the tokens too. None if each device has all features.
        class_axis_name: inside `shard_map`, the mesh axis, or several, on which the classes lie: each device passes an
            even part of them, in the order of the mesh, in `kernel` and `bias`. Indices count all classes. With
            `batch_spec` the same of whole arrays. None if each device has all.
        where: booleans that broadcast to `target`; a token where it is False is hidden, with log-probability 0,
            entropy 0 and gradient 0.

    Returns:
        An array of the shape of `target`, or with `with_entropy` a pair of two, the entropy in nats; float32 for
        half-precision inputs, float64 for float64.

    Raises:
        AssertionError: a shape or dtype breaks the contract; float and one-hot targets are refused.
        ValueError: a Python number out of its domain, or axes that the mesh does not have.
        JaxRuntimeError: under `chex.chexify`, an index out of range.

    PyTorch: `-torch.nn.functional.linear_cross_entropy(..., reduction="none")`, from 2.13 on; its kernel is (classes,
    features), and it has no entropy.

    Elsewhere: Liger's fused linear losses compute the log-probabilities inside each loss; verl's
    `FusedLinearForPPO` returns both; TRL's `use_liger_kernel` takes Liger's. tunix and MaxText store the logits.

    Reference: E. Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, arXiv:2411.09009; the cap: Gemma
    Team, arXiv:2408.00118.

    >>> features, kernel = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> print(linear_token_log_probs(features, kernel, jnp.array([1]), temperature=0.7).round(4))
    [-0.2601]
    >>> log_probs, entropy = linear_token_log_probs(features, kernel, jnp.array([1]), with_entropy=True)
    >>> print(f"{log_probs[0]:.4f} {entropy[0]:.4f}")
    -0.4076 0.8324
    """
    layout, feature_axis_name, class_axis_name = _layout(
        "linear_token_log_probs", batch_spec, feature_axis_name, class_axis_name
    )
    call = Call("linear_token_log_probs", None, where, "none", class_axis_name=class_axis_name)
    feature_axes = call.mesh_axes(feature_axis_name=feature_axis_name)
    pred, kernel, bias = call.dense(pred, kernel, bias, feature_axes)
    labels = _labels(call, pred, kernel, bias, target, ignore_index, num_classes)
    options = Options(
        bias=bias,
        softcap=None if logit_softcap is None else call.positive(logit_softcap=logit_softcap),
        temperature=call.positive(temperature=temperature),
        padding=labels.padding,
    )
    how = Blocks("classes", call.chunk_size(chunk_size), call.precision(precision), labels.padded, feature_axes, layout)
    return token_log_probs_in_blocks(call, labels.pred, kernel, labels.target, options, how, with_entropy)


def _layout(
    function: str,
    batch_spec: PartitionSpec | None,
    feature_axis_name: AxisName | None,
    class_axis_name: AxisName | None,
) -> tuple[Layout | None, AxisName | None, AxisName | None]:
    """On an automatic mesh, where arrays are whole to the caller, that of all; else the names in `shard_map`."""
    if batch_spec is None:
        return None, feature_axis_name, class_axis_name
    return named_layout(function, batch_spec, feature_axis_name, class_axis_name), None, None


class _Labels(NamedTuple):
    """Features and labels, harmless where hidden; and of padding among the classes, as it lies on this device."""

    pred: Array
    target: Array
    padded: int = 0
    exists: Array | None = None  # Whether a class is none of it; None if there is none.
    padding: Array | None = None  # To be added to the logits: 0 or -inf.


def _labels(
    call: Call, pred: Array, kernel: Array, bias: Array, target: Any, ignore_index: Any, num_classes: int | None
) -> _Labels:
    """Checked, and hidden where nothing counts. A label that names padding names no class."""
    pred, target, classes = call.labelled_features(INDICES, pred, kernel, target, ignore_index)
    padded = 0 if num_classes is None else classes - _number_of_classes(call, classes, num_classes)
    call.check_labels(target, classes - padded)
    if not padded:
        return _Labels(pred, target)
    exists = Shard(kernel.shape[1], call.class_axis_name).indices() < classes - padded
    padding = jnp.where(exists, 0.0, -jnp.inf).astype(bias.dtype)
    return _Labels(pred, jnp.where(target < classes - padded, target, -1), padded, exists, padding)


def _blocks(call: Call, value: str | None) -> str | None:
    """One of the two algorithms, or None."""
    if value not in (None, "tokens", "classes"):
        raise ValueError(f'{call.function}: `blocks` must be "tokens", "classes" or None, got {value!r}.')
    return value


def _number_of_classes(call: Call, classes: int, value: int) -> int:
    """A Python integer, at most as many as the kernel has."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 0 < value <= classes:
        raise ValueError(
            f"{call.function}: `num_classes` must be a Python integer in [1, {classes}], as the kernel has {classes} "
            f"classes, or None, got {value!r}."
        )
    return int(value)
