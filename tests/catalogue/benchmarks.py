"""What the benchmarks of several families share: sizes, draws at these sizes, and formulas as people write them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.catalogue.record import Arrays

CLASSES = ((4096, 1024), (512, 50304))
EMBEDDINGS = ((1024, 128), (8192, 128))
LARGE = (65_536, 2048)


def normal(rng: np.random.Generator, *size: int) -> np.ndarray:
    return rng.standard_normal(size, np.float32)


def pairs(rng: np.random.Generator, *size: int) -> Arrays:
    return *normal(rng, 2, *size), rng.choice(np.array([-1, 1], np.float32), size[:-1])


def labelled(rng: np.random.Generator, *size: int) -> Arrays:
    return 3 * normal(rng, *size), rng.integers(0, size[-1], size[:-1], np.int32)


def at(scores: Any, labels: Any) -> Any:
    return jnp.take_along_axis(scores, labels[..., None], -1)[..., 0]


def plain_cross_entropy(xp: Any, logits: Any, labels: Any) -> Any:
    return -at(jax.nn.log_softmax(logits), labels).mean()


def plain_bce(xp: Any, logits: Any, target: Any) -> Any:
    """The losses themselves, of which a loss is made."""
    return xp.clip(logits, 0) - logits * target + xp.log1p(xp.exp(-abs(logits)))
