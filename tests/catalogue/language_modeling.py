"""Records of `jaxloss.language_modeling`."""

import math
from typing import Any

import numpy as np

import jaxloss
from tests.catalogue.benchmarks import normal, plain_cross_entropy
from tests.catalogue.common import (
    LABELS,
    LOGITS,
    cross_entropy_oracle,
    draw_class_logits,
    fractions,
    log_softmax,
    option,
    torch_classes,
)
from tests.catalogue.domains import apart, integers, numbers
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example


def draw_features(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    logits, target = draw_class_logits(rng, batch, options)
    return rng.normal(size=(*batch, 6)), rng.normal(size=(6, logits.shape[-1])), target


def linear_cross_entropy_oracle(
    pred,
    kernel,
    target,
    bias=None,
    ignore_index=None,
    z_loss=0.0,
    logit_softcap=None,
    chunk_size=None,
    blocks=None,
    **options,
):
    logits = (pred[..., None] * kernel).sum(-2) + np.asarray(0.0 if bias is None else bias)
    if logit_softcap is not None:
        logits = logit_softcap * np.tanh(logits / logit_softcap)
    values, weights = cross_entropy_oracle(logits, target, ignore_index=ignore_index, **options)
    log_total = logits[..., 0] - log_softmax(logits)[..., 0]
    return values + z_loss * np.where(target == ignore_index, 0, log_total) ** 2, weights


def torch_linear(
    nn,
    pred,
    kernel,
    target,
    *,
    bias=None,
    z_loss=0.0,
    logit_softcap=None,
    chunk_size=None,
    blocks=None,
    reduction="mean",
    **options,
):
    logits = pred @ kernel if bias is None else pred @ kernel + bias
    if logit_softcap is not None:
        logits = logit_softcap * (logits / logit_softcap).tanh()
    keep = target != options.get("ignore_index", -100)
    values = torch_classes(nn, logits, target, reduction="none", **options)
    values = values + z_loss * (keep * logits.logsumexp(-1) ** 2)
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    return values.sum() / (keep * options["weight"][target] if "weight" in options else keep).sum()


def linear_from_torch(*, input, target, linear_weight, linear_bias=None, ignore_index=None, **given):
    index = -100 if ignore_index is None else ignore_index
    return jaxloss.linear_cross_entropy(input, linear_weight.T, target, bias=linear_bias, ignore_index=index, **given)


def heads(rng: np.random.Generator, tokens: int, features: int, classes: int) -> Arrays:
    """Features, kernel, bias, labels. The bias is zero, so that a peer without one computes the same."""
    kernel = normal(rng, features, classes) / np.float32(math.sqrt(features))
    labels = rng.integers(0, classes, tokens, np.int32)
    return normal(rng, tokens, features), kernel, np.zeros(classes, np.float32), labels


def optax_linear(losses: Any, features: Any, kernel: Any, bias: Any, labels: Any) -> Any:
    return losses.softmax_cross_entropy_with_integer_labels(features @ kernel + bias, labels).mean()


def tokamax_linear(tokamax: Any, features: Any, kernel: Any, bias: Any, labels: Any) -> Any:
    """It has no bias: what is drawn is zero, and so is its gradient."""
    return tokamax.linear_softmax_cross_entropy_loss(
        features, labels, kernel, reduction="mean", implementation="chunked_xla"
    )


RECORDS = (
    Record(
        jaxloss.linear_cross_entropy,
        draw_features,
        per_example(linear_cross_entropy_oracle),
        two_ways=True,
        about=About(
            "Language models, large vocabularies, without the logits' memory",
            "features, and the last layer's kernel",
            "integer indices (...)",
            shown="z_loss, logit_softcap",
            torch="LinearCrossEntropyLoss",
        ),
        arrays=("pred", "kernel", "target"),
        inner=(1, 0, 0),
        variants=(
            {"chunk_size": 5},
            {},
            {"bias": [0.5, -1.0, 2.0, 0.1], "weight": [0.5, 2.0, 0.0, 1.5], "ignore_index": 1, "label_smoothing": 0.2},
            {"weight": [0.5, 2.0, 0.0, 1.5], "z_loss": 0.3, "chunk_size": 2, "blocks": "classes"},
            {
                "bias": [0.5, -1.0, 2.0, 0.1],
                "weight": [0.5, 2.0, 0.0, 1.5],
                "ignore_index": 1,
                "label_smoothing": 0.2,
                "z_loss": 0.1,
                "logit_softcap": 3.0,
                "chunk_size": 1,
                "blocks": "classes",
            },
        ),
        own_mean=lambda options: "weight" in options and bool(options.keys() & {"label_smoothing", "z_loss"}),
        traced=("bias", "weight", "label_smoothing", "z_loss", "logit_softcap"),
        differentiable=(0, 1),
        shared=(1,),
        sharded_classes=(1,),
        garbage=((NAN, INF, -INF, 1e30), (), (-1, 99, -(2**31))),
        torch=torch_linear,
        from_torch=linear_from_torch,
        torch_target=fractions,
        refuses=(
            Bad((LOGITS, LOGITS, LABELS), {}, "`kernel` must be floating, of shape .*transposed"),
            Bad((LOGITS, LOGITS.T, LOGITS), {}, "`target` must hold integer"),
            Bad((LOGITS, LOGITS.T, LABELS), {"bias": np.ones(5, np.float32)}, "`bias` must have one number a class"),
            Bad(
                (LOGITS, LOGITS.T, LABELS), {"weight": np.ones(5, np.float32)}, "`weight` must have one number a class"
            ),
            option("label_smoothing", 1.5, (LOGITS, LOGITS.T, LABELS)),
            option("z_loss", -1.0, (LOGITS, LOGITS.T, LABELS)),
            option("logit_softcap", 0.0, (LOGITS, LOGITS.T, LABELS)),
            option("chunk_size", 0, (LOGITS, LOGITS.T, LABELS)),
            option("precision", "exact", (LOGITS, LOGITS.T, LABELS)),
            option("chunk_size", 2.0, (LOGITS, LOGITS.T, LABELS)),
            option("blocks", "rows", (LOGITS, LOGITS.T, LABELS)),
            option("num_classes", 4, (LOGITS, LOGITS.T, LABELS)),
            option("feature_axis_name", "data", (LOGITS, LOGITS.T, LABELS)),
        ),
        reports=(
            Bad(
                (LOGITS, LOGITS.T, LABELS + 3), {}, "`target` must hold class indices in \\[0, 3\\), got values from 3"
            ),
            Bad((LOGITS, LOGITS.T, LABELS - 1), {}, "`target` must hold class indices"),
        ),
        stress=Stress(
            apart(numbers((3,), -1e17, 1e17), numbers((3, 4), -1e17, 1e17), integers(0, 3)), (6, 6), unit="norm"
        ),
        extremes=(Extreme(([[1e4, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [1]), {}, [1e4]),),
        benchmark=Benchmark(
            lambda xp, features, kernel, bias, labels: plain_cross_entropy(xp, features @ kernel + bias, labels),
            sizes=((2048, 512, 32_768), (8192, 1024, 131_072)),
            large=(16_384, 2048, 131_072),
            # Blocks read the kernel once each, and add to its gradient; in exchange for the logits, which never exist.
            behind=dict.fromkeys(("float32 tpu", "float32 gpu", "bfloat16 tpu", "bfloat16 gpu"), "bytes"),
            held={"float32 tpu": 0.08, "bfloat16 tpu": 0.05, "float32 gpu": 0.016, "bfloat16 gpu": 0.019},
            draw=heads,
            optax=optax_linear,
            torch=lambda torch, features, kernel, bias, labels: torch.nn.functional.cross_entropy(
                features @ kernel + bias, labels
            ),
            tokamax=tokamax_linear,
            call=lambda features, kernel, bias, labels: jaxloss.linear_cross_entropy(
                features, kernel, labels, bias=bias
            ),
            gradients=(0, 1, 2),
        ),
    ),
)
