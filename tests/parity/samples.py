"""The samples of PyTorch's own tests: calls of its loss functions (OpInfo) and of its loss modules (ModuleInfo)."""

import inspect
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch  # pyright: ignore[reportMissingImports] an extra of its own
from torch.testing._internal.common_methods_invocations import op_db  # pyright: ignore[reportMissingImports]
from torch.testing._internal.common_modules import module_db  # pyright: ignore[reportMissingImports]

from tests.catalogue import TABLE

nn: Any = torch.nn.functional
torch.set_num_threads(1)  # the samples are small: more threads only wait for each other

# Of PyTorch's functions, by name; and the modules of which PyTorch has samples.
RECORDS = {record.name: record for record in TABLE if record.about.torch and hasattr(nn, record.name)}
FUNCTION_OF = {record.about.torch: name for name, record in RECORDS.items()}
MODULES = sorted(FUNCTION_OF.keys() & {info.module_cls.__name__ for info in module_db})
NAMES = [*sorted(RECORDS), *MODULES]
# Where and in what steps PyTorch computes, and the shape of a kernel: nothing else that a loss depends on.
MACHINERY = ("device", "dtype", "options", "in_features", "num_classes", "out_features", "bias")


class Sample(NamedTuple):
    """A call of PyTorch: its arguments are kept under the names that the function has for them."""

    name: str
    call: Callable[..., Any]  # with what is changed
    tensors: dict[str, Any]
    options: dict[str, Any]

    @property
    def function(self) -> str:
        return FUNCTION_OF.get(self.name, self.name)

    def __str__(self) -> str:
        tensors = {name: f"{str(value.dtype)[6:]}{tuple(value.shape)}" for name, value in self.tensors.items()}
        return f"{self.name} of {tensors} with {self.options}"


def differentiable(sample: Sample) -> tuple[str, ...]:
    return tuple(name for name, tensor in sample.tensors.items() if tensor.requires_grad)


def samples(name: str) -> Iterator[Sample]:
    """All that PyTorch's tests feed to a function or a module, in float64."""
    _draw_the_same_again()
    for info in _modules(name):
        drawn = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True, training=True)
        for each in drawn:
            yield _of_module(info.module_cls, each.constructor_input, each.forward_input)
    for op in _functions(name):
        draw = op.reference_inputs if op.reference_inputs_func else op.sample_inputs  # the former include the latter
        for each in draw("cpu", torch.float64, requires_grad=True):
            yield _of_function(name, op.op, each)


def error_samples(name: str) -> Iterator[tuple[Sample, type[Exception]]]:
    """All that PyTorch's tests expect to be refused, and by what exception."""
    _draw_the_same_again()
    for info in _modules(name):
        draw = info.module_error_inputs_func or (lambda *_, **__: [])
        for error in draw(info, device="cpu", dtype=torch.float64, requires_grad=True, training=True):
            each = error.module_error_input
            yield _of_module(info.module_cls, each.constructor_input, each.forward_input), error.error_type
    for op in _functions(name):
        for error in op.error_inputs("cpu") if op.error_inputs_func else []:
            yield _of_function(name, op.op, error.sample_input), error.error_type


def _modules(name: str) -> list[Any]:
    return [info for info in module_db if info.module_cls.__name__ == name]


def _functions(name: str) -> list[Any]:
    return [op for op in op_db if op.name == f"nn.functional.{name}"]


def _draw_the_same_again() -> None:
    random.seed(0)
    torch.manual_seed(0)


def _of_function(name: str, function: Any, drawn: Any) -> Sample:
    given = _leaves(name, inspect.signature(function).bind(drawn.input, *drawn.args, **drawn.kwargs).arguments)
    return _sample(name, lambda **changed: function(**given | changed), given)


def _of_module(module_class: Any, made: Any, passed: Any) -> Sample:
    """A module is a function whose options were given before; `linear_cross_entropy` keeps its kernel too."""
    name = module_class.__name__
    options = _within(name, dict(inspect.signature(module_class).bind(*made.args, **made.kwargs).arguments))
    parameters = inspect.signature(getattr(nn, FUNCTION_OF[name])).parameters
    # An error of the constructor comes without arrays.
    arrays = passed.args if passed else (torch.zeros(2), torch.zeros(2))
    given = _leaves(name, dict(zip((each for each in parameters if each != "linear_weight"), arrays, strict=False)))
    kernel = _kernel(options) if name == "LinearCrossEntropyLoss" else {}

    def call(**changed: Any) -> Any:
        module = module_class(**options | changed)
        flat = {
            each.replace("_", "."): value.reshape(module.get_parameter(each.replace("_", ".")).shape)
            for each, value in kernel.items()
        }
        return torch.func.functional_call(module, flat, tuple(given.values()))

    return _sample(name, call, options | given | kernel)


def _kernel(options: dict[str, Any]) -> dict[str, Any]:
    """A kernel, and a bias if asked for, in the shape that the function has them."""
    classes = (options["num_classes"], *options.get("out_features", ()))
    kernel = {"linear_weight": torch.randn(*classes, options["in_features"], dtype=torch.float64)}
    if options.get("bias"):
        kernel["linear_bias"] = torch.randn(*classes, dtype=torch.float64)
    return {name: value.requires_grad_() for name, value in kernel.items()}


def _leaves(function: str, given: dict[str, Any]) -> dict[str, Any]:
    """Tensors that depend on no other: some samples pass one tensor twice."""
    detached = {
        name: value.detach().clone() if isinstance(value, torch.Tensor) else value for name, value in given.items()
    }
    return {
        name: value.requires_grad_(given[name].requires_grad) if isinstance(value, torch.Tensor) else value
        for name, value in _within(function, detached).items()
    }


def _within(function: str, given: dict[str, Any]) -> dict[str, Any]:
    """PyTorch draws some numbers from outside of the domain. There jaxloss is NaN, so both libraries get others."""
    into_domain = RECORDS[FUNCTION_OF.get(function, function)].torch_target
    moves = {"weight": torch.abs, "pos_weight": torch.abs}
    if into_domain:
        moves["target"] = lambda tensor: torch.from_numpy(into_domain(tensor.numpy()))
    return given | {
        name: move(given[name]) for name, move in moves.items() if isinstance(given.get(name), torch.Tensor)
    }


def _sample(name: str, call: Callable[..., Any], given: dict[str, Any]) -> Sample:
    def quiet(**changed: Any) -> Any:
        with warnings.catch_warnings():  # of broadcasting, of the mean of kl_div, of options that are ignored
            warnings.simplefilter("ignore")
            return call(**changed)

    tensors = {each: value for each, value in given.items() if isinstance(value, torch.Tensor)}
    options = {each: given[each] for each in given if each not in (*tensors, *MACHINERY)}
    return Sample(name, quiet, tensors, options)
