"""Records of `jaxloss.sequence`."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.catalogue.benchmarks import normal
from tests.catalogue.common import FLOATS, LABELS, PROBABILITIES, SUMMABLE, log_softmax, option
from tests.catalogue.domains import apart, integers, numbers
from tests.catalogue.record import INF, NAN, About, Arrays, Bad, Benchmark, Extreme, Record, Stress, per_example

FRAMES, SYMBOLS, LABELS_LONG = 4, 4, 2
ALIGNMENTS = np.array(list(itertools.product(range(SYMBOLS), repeat=FRAMES)))


def draw_sequences(rng: np.random.Generator, batch: tuple[int, ...], options: dict[str, Any]) -> Arrays:
    labels = [symbol for symbol in range(SYMBOLS) if symbol != options.get("blank", 0)]
    return 2 * rng.normal(size=(*batch, FRAMES, SYMBOLS)), rng.choice(labels, size=(*batch, LABELS_LONG))


@functools.cache
def collapsed(blank):
    """What each alignment becomes, if that is as long as the targets."""
    every = [[symbol for symbol, _ in itertools.groupby(alignment) if symbol != blank] for alignment in ALIGNMENTS]
    return np.array([labels if len(labels) == LABELS_LONG else [-1] * LABELS_LONG for labels in every])


def ctc_oracle(pred, target, blank=0, zero_infinity=False):
    """Over every alignment there is: what it collapses to, and its probability."""
    log_p = log_softmax(pred)[..., np.arange(FRAMES), ALIGNMENTS].sum(-1)
    matches = (collapsed(blank) == target[..., None, :]).all(-1)
    values = -np.log(np.where(matches, np.exp(np.where(matches, log_p, 0 * log_p)), 0).sum(-1))
    return values, np.full(values.shape, LABELS_LONG)


def torch_ctc(nn, pred, target, **options):
    time, classes = pred.shape[-2:]
    batch = pred.reshape(-1, time, classes).shape[0]
    log_p = pred.log_softmax(-1).reshape(batch, time, classes).movedim(1, 0)
    lengths = [[time] * batch, [target.shape[-1]] * batch]
    values = nn.ctc_loss(log_p, target.reshape(batch, -1), *lengths, **options)
    return values.reshape(pred.shape[:-2]) if options["reduction"] == "none" else values


def ctc_from_torch(*, log_probs, targets, input_lengths, target_lengths, **given):
    lengths = {"input_lengths": jnp.asarray(input_lengths), "target_lengths": jnp.asarray(target_lengths)}
    return jaxloss.ctc_loss(jnp.moveaxis(log_probs, 0, -2), targets, **lengths, **given)


def sequences(rng: np.random.Generator, batch: int, time: int, classes: int, labels: int) -> Arrays:
    """No label follows itself, so that as many frames as labels are enough."""
    steps = rng.integers(1, classes - 1, (batch, labels))
    return normal(rng, batch, time, classes), (1 + steps.cumsum(-1) % (classes - 1)).astype(np.int32)


def plain_ctc(xp: Any, logits: Any, labels: Any) -> Any:
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


def optax_ctc(losses: Any, logits: Any, labels: Any) -> Any:
    values = losses.ctc_loss(logits, jnp.zeros(logits.shape[:2]), labels, jnp.zeros(labels.shape))
    return values.mean() / labels.shape[1]


def ctc_in_torch(torch: Any, logits: Any, labels: Any) -> Any:
    log_p = logits.float().log_softmax(-1).movedim(1, 0)
    lengths = [[size] * len(labels) for size in (logits.shape[1], labels.shape[1])]
    return torch.nn.functional.ctc_loss(log_p, labels, *lengths)


RECORDS = (
    Record(
        jaxloss.ctc_loss,
        draw_sequences,
        per_example(ctc_oracle),
        two_ways=True,
        about=About(
            "Sequences without alignment",
            "logits (..., time, classes)",
            "integer labels (..., labels), padded, and lengths",
            torch="CTCLoss",
            optax="ctc_loss",
            keras="CTC",
        ),
        inner=(2, 1),
        variants=({}, {"blank": 2, "zero_infinity": True}),
        garbage=((NAN, INF, -INF, 1e30), (-1, 99, 0, 2)),
        torch=torch_ctc,
        from_torch=ctc_from_torch,
        own_mean=lambda options: True,
        refuses=(
            Bad((FLOATS[0], LABELS), {}, "`pred` must be \\(..., time, classes\\)"),
            Bad((FLOATS, LABELS.astype(np.float32)), {}, "`target` must hold integer"),
            Bad((FLOATS, LABELS[None]), {}, "`target` must hold integer class indices of shape \\('labels',\\)"),
            Bad((FLOATS, LABELS), {"input_lengths": np.ones(1, np.int32)}, "`input_lengths` must hold integer lengths"),
            Bad((FLOATS, LABELS), {"target_lengths": np.float32(1)}, "`target_lengths` must hold integer lengths"),
            option("blank", 4, (FLOATS, LABELS + 1)),
            option("blank", -1, (FLOATS, LABELS + 1)),
        ),
        reports=(
            Bad((FLOATS, LABELS + 4), {}, "`target` must hold class indices in \\[0, 4\\), got values from 4"),
            Bad((FLOATS, LABELS), {}, "`target` must not hold the blank, 0"),
            Bad(
                (FLOATS, LABELS + 1), {"input_lengths": np.int32(4)}, "`input_lengths` must hold lengths in \\[0, 3\\]"
            ),
            Bad((FLOATS, LABELS + 1), {"target_lengths": np.int32(-1)}, "`target_lengths` must hold lengths"),
            Bad((PROBABILITIES, LABELS[:1] + 1), {}, "`pred` must hold logits, got probabilities", plausible=True),
        ),
        stress=Stress(
            apart(numbers((4, 4), -SUMMABLE, SUMMABLE), integers(1, 3, (2,))), (6, 6), unit="norm", examples=1
        ),
        extremes=(
            Extreme(([[1e4, -1e4], [-1e4, 1e4], [1e4, -1e4]], [1]), {}, 0.0),
            Extreme(([[0.0, -INF], [-INF, 0.0], [0.0, -INF]], [1]), {}, 0.0),
            Extreme(([[1e4, 0.0], [1e4, 0.0]], [1]), {}, 1e4 - math.log(2)),
            Extreme(([[0.0, 0.0]], [1, 1]), {}, INF),
            Extreme(([[0.0, 0.0]], [1, 1]), {"zero_infinity": True}, 0.0),
        ),
        benchmark=Benchmark(
            plain_ctc,
            sizes=((16, 200, 64, 50), (32, 1000, 128, 200)),
            large=(32, 1000, 128, 200),
            draw=sequences,
            optax=optax_ctc,
            torch=ctc_in_torch,
        ),
    ),
)
