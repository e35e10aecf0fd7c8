"""What a record says of a loss: how to draw its inputs, what it must be, what it must refuse and report.

The oracles are written in NumPy, from the formulas alone, and share no code with the package. They compute in the dtype
that they are given: the tests give them extended precision, and differentiate them by central differences.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.catalogue.domains import Domain

Arrays = tuple[np.ndarray, ...]
INF, NAN = np.inf, np.nan


@dataclass(frozen=True)
class Bad:
    """A call that must be refused: arguments, options, and what the message must say besides the function's name.

    A bad value that nobody checks makes the loss NaN, unless that would cost a pass over memory, or unless any number
    is a valid one: then it is `plausible`, and the README says so.
    """

    args: tuple[Any, ...]
    options: dict[str, Any]
    message: str
    error: type[Exception] = AssertionError
    plausible: bool = False


@dataclass(frozen=True)
class Extreme:
    """Arguments at the edge of the domain, and the unreduced loss that mathematics gives there."""

    args: tuple[Any, ...]
    options: dict[str, Any]
    expected: Any


@dataclass(frozen=True)
class Stress:
    """Over the whole exponent range of float32: how to draw one example, and how far off the loss may be.

    The unit is one of the last place of the exact "result". Where differences of "inputs" cancel, what a change of
    them by one ulp makes of the result is a unit too. Where many add up to one loss, an ulp of the largest slope of the
    "row" is one for the others. And where distances are taken, the "norm" counts: the ulp is that of the largest input.
    """

    domain: Domain
    # Bounds of the error of the value and of the gradient.
    ulps: tuple[float, float]
    variants: tuple[dict[str, Any], ...] = ({},)
    unit: str = "result"
    # Whether the oracle takes `constant_at`, because a gradient flows through a clamp as if it were not there.
    clamped: bool = False
    # How many are drawn at once: fewer where an oracle takes long.
    examples: int = 16


@dataclass(frozen=True)
class About:
    """What a loss is for, and where else it is: a line of the README's table, and no more than that table may say."""

    task: str
    # What the model puts out, and what the target must be.
    outputs: str
    target: str
    # Options that the table names, and a word on what this loss is among its like.
    shown: str = ""
    note: str = ""
    # Its names elsewhere: a module of torch.nn, a function of torchvision.ops or optax.losses, a class of keras.losses.
    torch: str = ""
    torchvision: str = ""
    optax: str = ""
    keras: str = ""


@dataclass(frozen=True)
class Benchmark:
    """What `python -m benchmarks` measures: the sizes at which a loss matters, and the peers that compute the same.

    A peer is given its namespace first (`jax.numpy`, `torch`, `optax.losses`, `tokamax`), because none but the first
    need be installed, then the arrays; it gives the mean.
    """

    # As people write it. Where PyTorch lacks the loss it is given `torch` too, in place of `jax.numpy`.
    plain: Callable[..., Any]
    sizes: tuple[tuple[int, ...], ...] = ((4096, 1024),)
    # One that outgrows what a chip holds. By default the last of the sizes, with as many examples as that takes.
    large: tuple[int, ...] | None = None
    # (rng, *size) -> arrays. By default the record draws a batch of that size.
    draw: Callable[..., Arrays] | None = None
    optax: Callable[..., Any] | None = None
    # Where it is not `torch.nn.functional`'s function of the same name.
    torch: Callable[..., Any] | None = None
    tokamax: Callable[..., Any] | None = None
    # How ours is called, where it is not just the loss of the arrays.
    call: Callable[..., Any] | None = None
    # Positions of the arrays that gradients flow to: by default those that the record differentiates, but for a target.
    gradients: tuple[int, ...] | None = None
    # Where the compiler counts more than for a peer, by dtype and platform, and of what; the record says why.
    behind: dict[str, str] = field(default_factory=dict)
    # At most which part of the best peer's temporaries is held, by dtype and platform.
    held: dict[str, float] = field(default_factory=dict)
    # How many times as long as a kernel that only reads and writes it may take.
    kernels: float | None = None


@dataclass(frozen=True)
class Record:
    """One loss: how to draw it, what it must be, what it must refuse, and what is particular to it as data."""

    loss: Callable[..., Any]
    # (rng, batch shape, options) -> valid arrays; the mask has the batch shape.
    draw: Callable[..., Arrays]
    # (*arrays, where, **options) -> unreduced losses and what the mean divides by, element by element.
    oracle: Callable[..., tuple[np.ndarray, np.ndarray]]
    about: About = field(kw_only=True)
    # The options with which everything is tested. The first is what the default suite takes.
    variants: tuple[dict[str, Any], ...] = ({},)
    # Options of the variants that may be traced, and differentiated.
    traced: tuple[str, ...] = ()
    # Whether the options leave a batch of that shape its losses.
    fits: Callable[[dict[str, Any], tuple[int, ...]], bool] = lambda options, batch: True
    # Names of the arrays.
    arrays: tuple[str, ...] = ("pred", "target")
    # How many axes of each array belong to one loss: they come last, or stand at `axis` if that is a class axis. Where
    # there are none, an array that is smaller than the batch is shared along the last axis.
    inner: tuple[int, ...] = (0, 0)
    # The same with the option `class_axis`, where that may be None.
    inner_with_classes: tuple[int, ...] = ()
    class_axis: bool = False
    # Positions of the arrays of which each device holds a part of the classes where `class_axis_name` is given.
    sharded_classes: tuple[int, ...] = ()
    # Positions of the arrays that gradients flow to.
    differentiable: tuple[int, ...] = (0,)
    # Positions of arrays that may be shared along any one axis.
    broadcast: tuple[int, ...] = ()
    # Positions of arrays without batch axes, which no mask hides and no mesh shards.
    shared: tuple[int, ...] = ()
    # Whether losses are of sets of elements, which the mask hides; and options with which a set lies in one shard,
    # where with the first of the variants it spans all that `axis_name` names: None where no set spans any.
    sets: bool = False
    in_a_shard: dict[str, Any] | None = None
    # Whether rows (rows, features) are compared with rows: a batch has one axis, a hidden row is deleted, weights are
    # of anchors, and inside `shard_map` `axis_name` makes a whole of the rows of all devices.
    rows: bool = False
    # What garbage may stand under a mask, an array each.
    garbage: tuple[tuple[float, ...], ...] = ((NAN, INF, -INF, 1e30), (NAN, INF, -INF, 1e30))
    # (torch.nn.functional, *tensors, reduction, **options), where it is not PyTorch's function of the same name.
    torch: Callable[..., Any] | None = None
    # (**arguments by PyTorch's names) -> loss, where more differs than that PyTorch calls the first array `input`, has
    # the class axis elsewhere, and ignores -100.
    from_torch: Callable[..., Any] | None = None
    # Moves targets into their domain: PyTorch draws some of its samples from outside of it.
    torch_target: Callable[[np.ndarray], np.ndarray] | None = None
    default_reduction: str = "mean"
    # Whether "mean" does more than to average the unreduced losses by their weights.
    own_mean: Callable[[dict[str, Any]], bool] = lambda options: False
    # Whether the oracle takes `constant_at`: the arrays at which some factor stands still in the gradient.
    constant_factor: bool = False
    # Whether each element of arrays of one shape has a loss, so that nothing but these need be stored.
    elementwise: bool = False
    # The loss of which it is another case, by its code: where the subject is what they share, that one stands for both.
    like: str = ""
    # Whether a CPU computes it in a way of its own.
    two_ways: bool = False
    # Dtypes in which not even the losses are stored where they are summed.
    unstored_sums: tuple[str, ...] = ()
    refuses: tuple[Bad, ...] = ()
    reports: tuple[Bad, ...] = ()
    # Whether there is nothing to report, because any number is a valid one.
    admits_any_value: bool = False
    extremes: tuple[Extreme, ...] = field(default=())
    stress: Stress = field(kw_only=True)
    benchmark: Benchmark = field(kw_only=True)

    @property
    def name(self) -> str:
        return self.loss.__name__


def per_example(oracle: Callable[..., Any]) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """An oracle of one loss an example, masked and counted: all but the set losses."""

    def masked(*arrays: np.ndarray, where: np.ndarray | bool = True, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        values = oracle(*arrays, **options)
        values, counts = values if isinstance(values, tuple) else (values, np.ones(values.shape))
        return np.where(where, values, 0), np.where(where, counts, 0)

    return masked
