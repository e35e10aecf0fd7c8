"""The table: one row a loss, with the sizes at which it matters and the peers that compute the same."""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxloss

Size = tuple[int, ...]
Arrays = tuple[np.ndarray, ...]
# A peer is given its namespace first (`jax.numpy`, `torch`, `optax.losses`, ...), then the arrays; it gives the mean.
Peer = Callable[..., Any]

ELEMENTS: tuple[Size, ...] = ((4096, 1024),)
CLASSES: tuple[Size, ...] = ((4096, 1024), (512, 50304))
EMBEDDINGS: tuple[Size, ...] = ((1024, 128), (8192, 128))
BOXES: tuple[Size, ...] = ((200_000,),)


@dataclass(frozen=True)
class Row:
    """One loss: its arrays, its sizes, and how others write it."""

    loss: Callable[..., Any]
    sizes: tuple[Size, ...]
    # (rng, *size) -> arrays; floats are float32 and get the dtype that is measured.
    draw: Callable[..., Arrays]
    # As people write it. Where PyTorch lacks the loss it is given `torch` too, in place of `jax.numpy`.
    plain: Peer
    optax: Peer | None = None
    # Where it is not `torch.nn.functional`'s function of the same name.
    torch: Peer | None = None
    tokamax: Peer | None = None
    # Where it is not just the loss of the arrays.
    call: Callable[..., Any] | None = None
    # Positions of the arrays that gradients flow to.
    gradients: tuple[int, ...] = (0,)

    @property
    def name(self) -> str:
        return self.loss.__name__

    @property
    def ours(self) -> Callable[..., Any]:
        return self.call or self.loss

    def in_torch(self, torch: Any) -> Callable[..., Any]:
        ready_made = None if self.torch else getattr(torch.nn.functional, self.name, None)
        return ready_made or functools.partial(self.torch or self.plain, torch)


def without_a_row() -> set[str]:
    """Public losses that the table lacks."""
    public = {name for name in jaxloss.__all__ if inspect.isfunction(getattr(jaxloss, name))} - {"weighted_sum"}
    return public - {row.name for row in TABLE}


# What is drawn


def normal(rng: np.random.Generator, *size: int) -> np.ndarray:
    return rng.standard_normal(size, np.float32)


def errors(rng: np.random.Generator, *size: int) -> Arrays:
    return normal(rng, *size), 2 * normal(rng, *size)


def gaussians(rng: np.random.Generator, *size: int) -> Arrays:
    return *errors(rng, *size), 0.5 + rng.random(size, np.float32)


def counts(rng: np.random.Generator, *size: int) -> Arrays:
    return normal(rng, *size), rng.poisson(2.0, size).astype(np.float32)


def signs(rng: np.random.Generator, *size: int) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.float32), size)


def signed(rng: np.random.Generator, *size: int) -> Arrays:
    return normal(rng, *size), signs(rng, *size)


def ranked(rng: np.random.Generator, *size: int) -> Arrays:
    return normal(rng, *size), *signed(rng, *size)


def binary(rng: np.random.Generator, *size: int) -> Arrays:
    return 3 * normal(rng, *size), rng.integers(0, 2, size).astype(np.float32)


def probabilities(rng: np.random.Generator, *size: int) -> Arrays:
    return 0.05 + 0.9 * rng.random(size, np.float32), binary(rng, *size)[1]


def labelled(rng: np.random.Generator, *size: int) -> Arrays:
    return 3 * normal(rng, *size), rng.integers(0, size[-1], size[:-1], np.int32)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def log_labelled(rng: np.random.Generator, *size: int) -> Arrays:
    logits, labels = labelled(rng, *size)
    return log_softmax(logits), labels


def soft_labelled(rng: np.random.Generator, *size: int) -> Arrays:
    return 3 * normal(rng, *size), np.exp(log_softmax(normal(rng, *size)))


def distributions(rng: np.random.Generator, *size: int) -> Arrays:
    return log_softmax(normal(rng, *size)), np.exp(log_softmax(normal(rng, *size)))


def label_lists(rng: np.random.Generator, *size: int) -> Arrays:
    """Up to eight labels an example, then -1."""
    lists = rng.permuted(np.broadcast_to(np.arange(size[-1], dtype=np.int32), size), axis=-1)
    ends = rng.integers(1, min(8, size[-1]), (*size[:-1], 1))
    return normal(rng, *size), np.where(np.arange(size[-1]) < ends, lists, np.int32(-1))


def boxes(rng: np.random.Generator, *size: int) -> Arrays:
    low, extent = rng.random((2, *size, 2), np.float32), 0.2 + rng.random((2, *size, 2), np.float32)
    return tuple(np.concatenate([low, low + extent], -1))


def triplets(rng: np.random.Generator, *size: int) -> Arrays:
    return normal(rng, *size), normal(rng, *size), normal(rng, *size)


def pairs(rng: np.random.Generator, *size: int) -> Arrays:
    return normal(rng, *size), normal(rng, *size), signs(rng, *size[:-1])


def sequences(rng: np.random.Generator, batch: int, time: int, classes: int, labels: int) -> Arrays:
    """No label follows itself, so that as many frames as labels are enough."""
    steps = rng.integers(1, classes - 1, (batch, labels))
    return normal(rng, batch, time, classes), (1 + steps.cumsum(-1) % (classes - 1)).astype(np.int32)


def heads(rng: np.random.Generator, tokens: int, features: int, classes: int) -> Arrays:
    """Features, kernel, bias, labels. The bias is zero, so that a peer without one computes the same."""
    kernel = normal(rng, features, classes) / np.float32(math.sqrt(features))
    return (
        normal(rng, tokens, features),
        kernel,
        np.zeros(classes, np.float32),
        rng.integers(0, classes, tokens, np.int32),
    )


# How people write it; `xp` is `jax.numpy` or `torch`


def smooth_l1(xp: Any, pred: Any, target: Any) -> Any:
    error = abs(pred - target)
    return xp.where(error < 1, 0.5 * error**2, error - 0.5).mean()


def quantile(xp: Any, pred: Any, target: Any) -> Any:
    error = target - pred
    return xp.maximum(0.9 * error, -0.1 * error).mean()


def gaussian(xp: Any, pred: Any, target: Any, var: Any) -> Any:
    var = xp.maximum(var, 1e-6)
    return 0.5 * (xp.log(var) + (pred - target) ** 2 / var).mean()


def at(scores: Any, labels: Any) -> Any:
    return jnp.take_along_axis(scores, labels[..., None], -1)[..., 0]


def cross_entropy(xp: Any, logits: Any, labels: Any) -> Any:
    return -at(jax.nn.log_softmax(logits), labels).mean()


def bce(xp: Any, logits: Any, target: Any) -> Any:
    return xp.clip(logits, 0) - logits * target + xp.log1p(xp.exp(-abs(logits)))


def focal(xp: Any, logits: Any, target: Any) -> Any:
    values = bce(xp, logits, target)
    return (0.25 * (1 - xp.exp(-values)) ** 2 * values).mean()


def sigmoid_focal(xp: Any, logits: Any, target: Any) -> Any:
    p = 1 / (1 + xp.exp(-logits))
    p_t = p * target + (1 - p) * (1 - target)
    alpha_t = 0.25 * target + 0.75 * (1 - target)
    return (alpha_t * (1 - p_t) ** 2 * bce(xp, logits, target)).mean()


def softmax_focal(xp: Any, logits: Any, labels: Any) -> Any:
    log_p = at(jax.nn.log_softmax(logits), labels)
    return -((1 - jnp.exp(log_p)) ** 2 * log_p).mean()


def softmax_focal_torch(torch: Any, logits: Any, labels: Any) -> Any:
    values = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return ((1 - torch.exp(-values)) ** 2 * values).mean()


def multi_margin(xp: Any, scores: Any, labels: Any) -> Any:
    others = jnp.arange(scores.shape[-1]) != labels[:, None]
    return (jnp.clip(1 - at(scores, labels)[:, None] + scores, 0) * others).mean()


def multilabel_margin(xp: Any, scores: Any, labels: Any) -> Any:
    classes = scores.shape[-1]
    listed = (labels[:, :, None] == jnp.arange(classes)).any(1)
    hinges = jnp.clip(1 - scores[:, :, None] + scores[:, None, :], 0)
    return (hinges * listed[:, :, None] * ~listed[:, None, :]).sum((1, 2)).mean() / classes


def dice(xp: Any, logits: Any, target: Any) -> Any:
    p = 1 / (1 + xp.exp(-logits))
    overlap, total = (p * target).sum((1, 2)), (p + target).sum((1, 2))
    return (1 - (2 * overlap + 1e-5) / (total + 1e-5)).mean()


def areas(xp: Any, pred: Any, target: Any) -> tuple[Any, Any, Any, Any]:
    """Intersection over union, the union, and the width and height of the hull."""
    low, high = xp.maximum(pred[:, :2], target[:, :2]), xp.minimum(pred[:, 2:], target[:, 2:])
    hull = xp.maximum(pred[:, 2:], target[:, 2:]) - xp.minimum(pred[:, :2], target[:, :2])
    extent, extent1, extent2 = xp.clip(high - low, 0), pred[:, 2:] - pred[:, :2], target[:, 2:] - target[:, :2]
    intersection = extent[:, 0] * extent[:, 1]
    union = extent1[:, 0] * extent1[:, 1] + extent2[:, 0] * extent2[:, 1] - intersection
    return intersection / (union + 1e-7), union, hull[:, 0], hull[:, 1]


def iou(xp: Any, pred: Any, target: Any) -> Any:
    return (1 - areas(xp, pred, target)[0]).mean()


def generalized_iou(xp: Any, pred: Any, target: Any) -> Any:
    overlap, union, width, height = areas(xp, pred, target)
    return (1 - overlap + (width * height - union) / (width * height + 1e-7)).mean()


def distance_iou(xp: Any, pred: Any, target: Any) -> Any:
    overlap, _, width, height = areas(xp, pred, target)
    offset = (pred[:, :2] + pred[:, 2:] - target[:, :2] - target[:, 2:]) / 2
    return (1 - overlap + (offset**2).sum(-1) / (width**2 + height**2 + 1e-7)).mean()


def complete_iou(xp: Any, pred: Any, target: Any) -> Any:
    def angle(box: Any) -> Any:
        return xp.arctan((box[:, 2] - box[:, 0]) / (box[:, 3] - box[:, 1]))

    overlap = areas(xp, pred, target)[0]
    aspect = 4 / math.pi**2 * (angle(target) - angle(pred)) ** 2
    alpha = aspect / (1 - overlap + aspect + 1e-7)
    alpha = jax.lax.stop_gradient(alpha) if xp is jnp else alpha.detach()
    return distance_iou(xp, pred, target) + (alpha * aspect).mean()


def triplet(xp: Any, anchor: Any, positive: Any, negative: Any) -> Any:
    near, far = (jnp.sqrt(((anchor - other + 1e-6) ** 2).sum(-1)) for other in (positive, negative))
    return jnp.clip(near - far + 1, 0).mean()


def cosine(xp: Any, input1: Any, input2: Any, target: Any) -> Any:
    similarity = (input1 * input2).sum(-1) / jnp.linalg.norm(input1, axis=-1) / jnp.linalg.norm(input2, axis=-1)
    return jnp.where(target == 1, 1 - similarity, jnp.clip(similarity, 0)).mean()


def cosine_optax(losses: Any, input1: Any, input2: Any, target: Any) -> Any:
    similarity = losses.cosine_similarity(input1, input2)
    return jnp.where(target == 1, 1 - similarity, jnp.clip(similarity, 0)).mean()


def ctc(xp: Any, logits: Any, labels: Any) -> Any:
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    states = jnp.zeros((len(labels), 2 * labels.shape[1] + 1), labels.dtype).at[:, 1::2].set(labels)
    emissions = jnp.moveaxis(jnp.take_along_axis(log_p, states[:, None], -1), 1, 0)
    may_skip = (states != 0) & (states != jnp.roll(states, 2, -1))

    def step(log_alpha: Any, emission: Any) -> tuple[Any, None]:
        moved = jnp.pad(log_alpha, ((0, 0), (2, 0)), constant_values=-1e30)
        paths = jnp.logaddexp(log_alpha, moved[:, 1:-1])
        return jnp.logaddexp(paths, jnp.where(may_skip, moved[:, :-2], -1e30)) + emission, None

    start = jnp.where(jnp.arange(states.shape[1]) < 2, emissions[0], -1e30)
    log_alpha, _ = jax.lax.scan(step, start, emissions[1:])
    return -jnp.logaddexp(log_alpha[:, -1], log_alpha[:, -2]).mean() / labels.shape[1]


def ctc_optax(losses: Any, logits: Any, labels: Any) -> Any:
    values = losses.ctc_loss(logits, jnp.zeros(logits.shape[:2]), labels, jnp.zeros(labels.shape))
    return values.mean() / labels.shape[1]


def ctc_torch(torch: Any, logits: Any, labels: Any) -> Any:
    log_p = logits.float().log_softmax(-1).movedim(1, 0)
    lengths = [[size] * len(labels) for size in (logits.shape[1], labels.shape[1])]
    return torch.nn.functional.ctc_loss(log_p, labels, *lengths)


def linear_tokamax(tokamax: Any, features: Any, kernel: Any, bias: Any, labels: Any) -> Any:
    """It has no bias: what is drawn is zero, and so is its gradient."""
    return tokamax.linear_softmax_cross_entropy_loss(
        features, labels, kernel, reduction="mean", implementation="chunked_xla"
    )


TABLE = (
    Row(
        jaxloss.mse_loss,
        ELEMENTS,
        errors,
        lambda xp, pred, target: ((pred - target) ** 2).mean(),
        optax=lambda losses, *arrays: losses.squared_error(*arrays).mean(),
    ),
    Row(jaxloss.l1_loss, ELEMENTS, errors, lambda xp, pred, target: abs(pred - target).mean()),
    Row(jaxloss.smooth_l1_loss, ELEMENTS, errors, smooth_l1),
    Row(
        jaxloss.huber_loss,
        ELEMENTS,
        errors,
        smooth_l1,
        optax=lambda losses, *arrays: losses.huber_loss(*arrays).mean(),
    ),
    Row(
        jaxloss.log_cosh_loss,
        ELEMENTS,
        errors,
        lambda xp, pred, target: xp.log(xp.cosh(pred - target)).mean(),
        optax=lambda losses, *arrays: losses.log_cosh(*arrays).mean(),
    ),
    Row(
        jaxloss.quantile_loss,
        ELEMENTS,
        errors,
        quantile,
        call=lambda pred, target: jaxloss.quantile_loss(pred, target, quantile=0.9),
    ),
    Row(jaxloss.gaussian_nll_loss, ELEMENTS, gaussians, gaussian, gradients=(0, 2)),
    Row(jaxloss.poisson_nll_loss, ELEMENTS, counts, lambda xp, pred, target: (xp.exp(pred) - target * pred).mean()),
    Row(
        jaxloss.cross_entropy,
        CLASSES,
        labelled,
        cross_entropy,
        optax=lambda losses, *arrays: losses.softmax_cross_entropy_with_integer_labels(*arrays).mean(),
    ),
    Row(jaxloss.nll_loss, CLASSES, log_labelled, lambda xp, log_p, labels: -at(log_p, labels).mean()),
    Row(
        jaxloss.soft_target_cross_entropy,
        CLASSES,
        soft_labelled,
        lambda xp, logits, target: -(target * jax.nn.log_softmax(logits)).sum(-1).mean(),
        optax=lambda losses, *arrays: losses.softmax_cross_entropy(*arrays).mean(),
        torch=lambda torch, *tensors: torch.nn.functional.cross_entropy(*tensors),
    ),
    Row(
        jaxloss.binary_cross_entropy_with_logits,
        ELEMENTS,
        binary,
        lambda xp, *arrays: bce(xp, *arrays).mean(),
        optax=lambda losses, *arrays: losses.sigmoid_binary_cross_entropy(*arrays).mean(),
    ),
    Row(
        jaxloss.binary_cross_entropy,
        ELEMENTS,
        probabilities,
        lambda xp, p, target: -(target * xp.log(p) + (1 - target) * xp.log(1 - p)).mean(),
    ),
    Row(jaxloss.focal_loss, ELEMENTS, binary, focal),
    Row(
        jaxloss.sigmoid_focal_loss,
        ELEMENTS,
        binary,
        sigmoid_focal,
        optax=lambda losses, *arrays: losses.sigmoid_focal_loss(*arrays, alpha=0.25, gamma=2.0).mean(),
    ),
    Row(jaxloss.softmax_focal_loss, CLASSES, labelled, softmax_focal, torch=softmax_focal_torch),
    Row(
        jaxloss.hinge_loss,
        ELEMENTS,
        signed,
        lambda xp, pred, target: xp.clip(1 - target * pred, 0).mean(),
        optax=lambda losses, *arrays: losses.hinge_loss(*arrays).mean(),
    ),
    Row(
        jaxloss.squared_hinge_loss,
        ELEMENTS,
        signed,
        lambda xp, pred, target: (xp.clip(1 - target * pred, 0) ** 2).mean(),
        optax=lambda losses, *arrays: (losses.hinge_loss(*arrays) ** 2).mean(),
    ),
    Row(
        jaxloss.soft_margin_loss,
        ELEMENTS,
        signed,
        lambda xp, pred, target: xp.log1p(xp.exp(-target * pred)).mean(),
    ),
    Row(
        jaxloss.hinge_embedding_loss,
        ELEMENTS,
        signed,
        lambda xp, pred, target: xp.where(target == 1, pred, xp.clip(1 - pred, 0)).mean(),
    ),
    Row(
        jaxloss.margin_ranking_loss,
        ELEMENTS,
        ranked,
        lambda xp, input1, input2, target: xp.clip(-target * (input1 - input2), 0).mean(),
        gradients=(0, 1),
    ),
    Row(jaxloss.multi_margin_loss, ELEMENTS, labelled, multi_margin),
    Row(jaxloss.multilabel_margin_loss, EMBEDDINGS[:1], label_lists, multilabel_margin),
    Row(
        jaxloss.multilabel_soft_margin_loss,
        ELEMENTS,
        binary,
        lambda xp, *arrays: bce(xp, *arrays).mean(-1).mean(),
        optax=lambda losses, *arrays: losses.sigmoid_binary_cross_entropy(*arrays).mean(-1).mean(),
    ),
    Row(
        jaxloss.dice_loss,
        ((8, 128, 128, 16),),
        binary,
        dice,
        optax=lambda losses, *arrays: jax.vmap(lambda *masks: losses.binary_dice_loss(*masks, smooth=1e-5), in_axes=-1)(
            *arrays
        ).mean(),
        call=lambda pred, target: jaxloss.dice_loss(pred, target, axis=(1, 2)),
    ),
    Row(jaxloss.box_iou_loss, BOXES, boxes, iou),
    Row(jaxloss.generalized_box_iou_loss, BOXES, boxes, generalized_iou),
    Row(jaxloss.distance_box_iou_loss, BOXES, boxes, distance_iou),
    Row(jaxloss.complete_box_iou_loss, BOXES, boxes, complete_iou),
    Row(
        jaxloss.kl_div,
        ELEMENTS,
        distributions,
        lambda xp, log_p, target: (target * (xp.log(target) - log_p)).sum(-1).mean(),
        optax=lambda losses, *arrays: losses.kl_divergence(*arrays).mean(),
        torch=lambda torch, *tensors: torch.nn.functional.kl_div(*tensors, reduction="batchmean"),
    ),
    Row(
        jaxloss.triplet_margin_loss,
        EMBEDDINGS,
        triplets,
        triplet,
        optax=lambda losses, *arrays: losses.triplet_margin_loss(*arrays).mean(),
        gradients=(0, 1, 2),
    ),
    Row(jaxloss.triplet_margin_with_distance_loss, EMBEDDINGS, triplets, triplet, gradients=(0, 1, 2)),
    Row(jaxloss.cosine_embedding_loss, EMBEDDINGS, pairs, cosine, optax=cosine_optax, gradients=(0, 1)),
    Row(
        jaxloss.ctc_loss,
        ((16, 200, 64, 50), (32, 1000, 128, 200)),
        sequences,
        ctc,
        optax=ctc_optax,
        torch=ctc_torch,
    ),
    Row(
        jaxloss.linear_cross_entropy,
        ((2048, 512, 32_768), (8192, 1024, 131_072)),
        heads,
        lambda xp, features, kernel, bias, labels: cross_entropy(xp, features @ kernel + bias, labels),
        optax=lambda losses, features, kernel, bias, labels: losses.softmax_cross_entropy_with_integer_labels(
            features @ kernel + bias, labels
        ).mean(),
        torch=lambda torch, features, kernel, bias, labels: torch.nn.functional.cross_entropy(
            features @ kernel + bias, labels
        ),
        tokamax=linear_tokamax,
        call=lambda features, kernel, bias, labels: jaxloss.linear_cross_entropy(features, kernel, labels, bias=bias),
        gradients=(0, 1, 2),
    ),
)
