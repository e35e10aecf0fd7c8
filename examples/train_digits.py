"""Train a small Flax NNX convnet on scikit-learn's handwritten digits with a loss of jaxloss.

Run `python examples/train_digits.py`; `--help` says what can be chosen.
"""

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

try:
    import chex
    import jax
    import numpy as np
    import optax
    from flax import nnx
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from sklearn.datasets import load_digits
    from sklearn.metrics import confusion_matrix
    from sklearn.model_selection import train_test_split
    from tqdm import tqdm

    import jaxloss
except ImportError as error:
    sys.exit(f"train_digits.py: {error.name} cannot be imported; run pip install 'jaxloss[examples]'")

LOSSES = {"cross_entropy": jaxloss.cross_entropy, "softmax_focal_loss": jaxloss.softmax_focal_loss}
IMAGE_ENDINGS = (".png", ".jpg", ".svg", ".pdf")
CLASSES = 10


class Data(NamedTuple):
    train_images: np.ndarray
    test_images: np.ndarray
    train_labels: np.ndarray
    test_labels: np.ndarray


class History(NamedTuple):
    losses: list[float]  # one a step
    milliseconds: list[float]  # one a step
    predictions: list[np.ndarray]  # the test set's, one array an epoch
    accuracies: list[float]  # one an epoch


class DigitsNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.hidden = nnx.Linear(4 * 4 * 64, 128, rngs=rngs)
        self.logits = nnx.Linear(128, CLASSES, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv1(images))
        x = nnx.max_pool(nnx.relu(self.conv2(x)), (2, 2), strides=(2, 2))
        x = nnx.relu(self.hidden(x.reshape(len(x), -1)))
        # No softmax here: the loss takes logits. Under --checked a softmax at the end of the model is reported.
        return self.logits(x)


def load_data(seed: int) -> Data:
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype(np.float32) / 16
    parts = train_test_split(images, labels.astype(np.int32), test_size=0.25, stratify=labels, random_state=seed)
    return Data(*map(np.asarray, parts))


def train(data: Data, options: argparse.Namespace) -> History:
    steps_per_epoch = len(data.train_images) // options.batch_size
    schedule = optax.cosine_decay_schedule(options.learning_rate, options.epochs * steps_per_epoch)
    model = DigitsNet(nnx.Rngs(options.seed))
    optimizer = nnx.Optimizer(model, optax.adamw(schedule), wrt=nnx.Param)
    loss_function = LOSSES[options.loss]

    # Split into structure and arrays, so that the step is a plain function of arrays, which chexify can wrap.
    structure, state = nnx.split((model, optimizer))

    @jax.jit
    def step(state: nnx.State, images: jax.Array, labels: jax.Array) -> tuple[nnx.State, jax.Array]:
        model, optimizer = nnx.merge(structure, state)
        loss, gradients = nnx.value_and_grad(lambda model: loss_function(model(images), labels))(model)
        optimizer.update(model, gradients)
        return nnx.state((model, optimizer)), loss

    @jax.jit
    def predict(state: nnx.State, images: jax.Array) -> jax.Array:
        model, _ = nnx.merge(structure, state)
        return model(images).argmax(-1)

    run_step = step
    if options.checked:
        # Outside of jit, and not asynchronous: a broken contract stops the step that broke it.
        run_step = chex.chexify(step, async_check=False)
        # At exit chex warns of unseen asynchronous checks, even where there were none.
        logging.getLogger("absl").setLevel(logging.ERROR)

    history = History([], [], [], [])
    shuffle = np.random.default_rng(options.seed)
    with tqdm(total=options.epochs * steps_per_epoch, unit="step") as progress:
        for _ in range(options.epochs):
            # What is left over sits this epoch out: one shape of batch is one compilation.
            order = shuffle.permutation(len(data.train_images))[: steps_per_epoch * options.batch_size]
            for batch in order.reshape(steps_per_epoch, options.batch_size):
                start = time.perf_counter()
                state, loss = run_step(state, data.train_images[batch], data.train_labels[batch])
                history.losses.append(float(loss))
                history.milliseconds.append(1000 * (time.perf_counter() - start))
                progress.set_postfix(loss=f"{history.losses[-1]:.4f}", refresh=False)
                progress.update()
                if not math.isfinite(history.losses[-1]):
                    progress.close()
                    sys.exit(
                        f"train_digits.py: the loss is {history.losses[-1]} at step {len(history.losses)}; "
                        "try a smaller --learning-rate, or --checked to look for wrong labels"
                    )
            history.predictions.append(np.asarray(predict(state, data.test_images)))
            history.accuracies.append(float(np.mean(history.predictions[-1] == data.test_labels)))
    return history


def draw(history: History, labels: np.ndarray, options: argparse.Namespace) -> Figure:
    # A figure of its own, on Agg and without pyplot: no display is needed and no global state is touched.
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["loss", "confusion"], ["accuracy", "confusion"]], width_ratios=(1, 1.05))
    figure.suptitle(f"jaxloss.{options.loss} on 8x8 digits, test accuracy {history.accuracies[-1]:.1%}")

    steps = np.arange(1, len(history.losses) + 1)
    epoch_ends = steps.reshape(len(history.accuracies), -1)[:, -1]
    epoch_means = np.reshape(history.losses, (len(history.accuracies), -1)).mean(1)
    axes["loss"].semilogy(steps, history.losses, color="C0", alpha=0.35, linewidth=0.8, label="step")
    axes["loss"].semilogy(epoch_ends, epoch_means, "o-", color="C0", markersize=3, label="mean of the epoch")
    axes["loss"].set(ylabel="train loss")
    axes["loss"].legend(frameon=False)
    axes["accuracy"].plot(epoch_ends, history.accuracies, "o-", color="C1", markersize=3)
    axes["accuracy"].set(xlabel="step", ylabel="test accuracy")
    axes["accuracy"].sharex(axes["loss"])
    for name in ("loss", "accuracy"):
        axes[name].grid(alpha=0.3)

    counts = confusion_matrix(labels, history.predictions[-1], labels=range(CLASSES))
    axes["confusion"].imshow(counts, cmap="Blues")
    axes["confusion"].set(xlabel="predicted", ylabel="true", xticks=range(CLASSES), yticks=range(CLASSES))
    for true, predicted in np.argwhere(counts):
        dark = counts[true, predicted] > counts.max() / 2
        color = "white" if dark else "black" if true == predicted else "C3"  # red: a mistake
        axes["confusion"].text(predicted, true, f"{counts[true, predicted]}", ha="center", va="center", color=color)
    return figure


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line says what is wrong; the usage is what --help is for."""
        self.exit(2, f"{self.prog}: {message}\n")


def number(kind: type, inside: Callable[[float], bool], domain: str) -> Callable[[str], float]:
    """An argparse type: a number of a kind and within a domain."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not inside(value):
            raise argparse.ArgumentTypeError(f"must be {domain}, got {text!r}")
        return value

    return parse


def image_path(text: str) -> Path:
    """An argparse type: a file that can be written, found out before the training and not after it."""
    path = Path(text)
    if path.suffix.lower() not in IMAGE_ENDINGS:
        raise argparse.ArgumentTypeError(f"must end in one of {', '.join(IMAGE_ENDINGS)}, got {text!r}")
    try:
        is_new = not path.exists()
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {text!r}: {error.strerror}") from None
    return path


def make_parser() -> Parser:
    parser = Parser(
        description="Train a small convolutional network (Flax NNX) on scikit-learn's 8x8 scans of handwritten digits "
        "with a loss of jaxloss; print the accuracy on a held-out quarter and the time a step, and draw both curves "
        "and the confusion matrix. Takes well under a minute on a CPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    seed = number(int, lambda value: 0 <= value < 2**32, "a whole number in [0, 2**32)")
    count = number(int, lambda value: 1 <= value <= 1_000_000, "a whole number from 1 to 1000000")
    rate = number(float, lambda value: 0 < value < math.inf, "a number greater than 0")
    parser.add_argument("--loss", choices=LOSSES, default="cross_entropy", help="the loss to train with")
    parser.add_argument("--checked", action="store_true", help="check the loss's value contracts at every step; slower")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="fixes split, weights and order of batches")
    parser.add_argument("--epochs", type=count, default=20, metavar="N", help="passes through the training set")
    parser.add_argument("--batch-size", type=count, default=64, metavar="N", help="images in a step")
    parser.add_argument("--learning-rate", type=rate, default=2e-3, metavar="X", help="AdamW's, at the start")
    parser.add_argument("--output", type=image_path, default="train_digits.png", metavar="FILE", help="the figure")
    return parser


def main() -> None:
    parser = make_parser()
    options = parser.parse_args()
    data = load_data(options.seed)
    if options.batch_size > len(data.train_images):
        parser.error(f"argument --batch-size: must be at most {len(data.train_images)}, the size of the training set")
    history = train(data, options)
    draw(history, data.test_labels, options).savefig(options.output, dpi=120)
    warm = history.milliseconds[1:] or history.milliseconds  # the first step compiles
    print(f"test accuracy {history.accuracies[-1]:.2%} with {options.loss}, seed {options.seed}")
    print(f"{np.median(warm):.2f} ms a step (median, warm), {'checked' if options.checked else 'not checked'}")
    print(f"figure in {options.output}")


if __name__ == "__main__":
    main()
