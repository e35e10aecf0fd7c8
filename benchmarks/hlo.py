"""Reads the text of a compiled module: what is accessed, multiplied and sent, loops times their trips."""

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

SIZES = {"pred": 1, "s4": 0.5, "u4": 0.5, "c64": 8, "c128": 16, "token": 0, "opaque": 0}
ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](\{[^}]*\})?")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
NAME = re.compile(r"%([\w.\-]+)")
# What moves nothing by itself.
FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "copy-done", "partition-id",
    "replica-id", "opt-barrier", "domain", "iota",
}  # fmt: skip
SLICES = {"dynamic-slice", "slice", "gather"}
COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter", "ragged-all-to-all")


@dataclass(frozen=True)
class Instruction:
    """One line: `name = type operation(operands), attributes`."""

    name: str
    type: str
    operation: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    def called(self, attribute: str) -> str | None:
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return found.group(1) if found else None


def arrays(type_: str, anywhere: bool = False) -> list[tuple[str, tuple[int, ...]]]:
    """Dtype and shape of each array that lies in the device's main memory: not of what a TPU keeps on its chip."""
    return [
        (dtype, tuple(int(size) for size in shape.split(",") if size))
        for dtype, shape, layout in ARRAY.findall(type_)
        if anywhere or "S(" not in layout
    ]


def size(type_: str, anywhere: bool = False) -> float:
    """Bytes in main memory, or wherever they lie."""
    return sum(math.prod(shape) * itemsize(dtype) for dtype, shape in arrays(type_, anywhere))


def itemsize(dtype: str) -> float:
    bits = re.search(r"\d+", dtype)
    return SIZES[dtype] if dtype in SIZES else int(bits.group()) / 8 if bits else 0


def shape(type_: str) -> tuple[int, ...]:
    found = ARRAY.search(type_)
    return tuple(int(length) for length in found.group(2).split(",") if length) if found else ()


def split(text: str) -> tuple[str, str]:
    """What comes first, a word or what stands in parentheses, and the rest."""
    if not text.startswith("("):
        first, _, rest = text.partition(" ")
        return first, rest
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return text[: position + 1], text[position + 1 :].lstrip()
    raise ValueError(text)


class Module:
    """The computations of a compiled module."""

    def __init__(self, text: str):
        self.computations: dict[str, dict[str, Instruction]] = {}
        current: dict[str, Instruction] = {}
        for line in text.splitlines():
            if opened := COMPUTATION.match(line):
                current = self.computations[opened.group(2)] = {}
                if opened.group(1):
                    self.entry = opened.group(2)
            elif found := INSTRUCTION.match(line):
                type_, rest = split(found.group(3))
                operation, _, rest = rest.partition("(")
                operands, attributes = split("(" + rest)
                if operation in ("parameter", "constant"):
                    attributes = operands[1:-1]  # Its number.
                names = tuple(NAME.findall(operands))
                current[found.group(2)] = Instruction(
                    found.group(2), type_, operation, names, attributes, bool(found.group(1))
                )

    @property
    def has_loops(self) -> bool:
        return any(each.operation == "while" for body in self.computations.values() for each in body.values())

    def accessed(self) -> float:
        """Bytes that operations read from main memory and write to it."""
        return self._total(self._accessed)

    def products(self) -> float:
        """Additions and multiplications of products of matrices."""
        return self._total(self._multiplied)

    def sent(self, kind: str = "") -> float:
        """Bytes of collectives, of all kinds or of one: their results, of an all-reduce twice, or what is scattered."""
        return self._total(functools.partial(self._sent, kind))

    def _total(self, cost: Callable[[dict[str, Instruction], Instruction], float]) -> float:
        @functools.cache
        def of(name: str) -> float:
            body = self.computations[name]
            return sum(with_callees(body, instruction) for instruction in body.values())

        def with_callees(body: dict[str, Instruction], instruction: Instruction) -> float:
            if instruction.operation == "while":
                return self.trips(instruction) * of(instruction.called("body") or "")
            if instruction.operation == "conditional":
                branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.attributes)
                names = NAME.findall(branches.group(1)) if branches else []
                names += [
                    name for key in ("true_computation", "false_computation") if (name := instruction.called(key))
                ]
                return max(map(of, names))
            if instruction.operation in ("call", "async-start") and (callee := _callee(instruction)):
                return of(callee)
            return cost(body, instruction)

        return of(self.entry)

    def trips(self, loop: Instruction) -> int:
        """How often the body runs: as the compiler says, or as the condition compares."""
        if said := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes):
            return int(said.group(1))
        names = [loop.called("condition") or ""]
        constants: set[int] = set()
        while names:
            for instruction in self.computations[names.pop()].values():
                if instruction.operation == "constant" and instruction.type.startswith(("s32", "u32", "s64")):
                    constants.add(int(instruction.attributes))
                if callee := _callee(instruction):
                    names.append(callee)
        return max(constants, default=1)

    def _accessed(self, body: dict[str, Instruction], instruction: Instruction) -> float:
        operation = instruction.operation
        if operation in FREE or operation.endswith("-done"):
            return 0
        sizes = [size(body[name].type) for name in instruction.operands if name in body]
        if operation in ("fusion", "fusion-start"):
            callee = self.computations[_callee(instruction) or ""]
            return sum(self._read(callee, position, whole) for position, whole in enumerate(sizes)) + self._written(
                callee, size(instruction.type)
            )
        if operation == "copy-start":
            return sizes[0] + size(split_first(instruction.type))
        if operation in SLICES:
            return 2 * size(instruction.type)
        if operation == "dynamic-update-slice":
            # Read where it lies, and written to main memory if the whole lies there.
            return sizes[1] + (size(body[instruction.operands[1]].type, anywhere=True) if sizes[0] else 0)
        if operation == "scatter":
            return sum(sizes[len(sizes) // 3 :]) + sum(sizes[-(len(sizes) // 3) :])
        return sum(sizes) + size(instruction.type)

    def _read(self, callee: dict[str, Instruction], position: int, whole: float) -> float:
        """What a fusion reads of an operand: no more than the slices that it takes, nothing of what it updates."""
        parameter = next(
            each for each in callee.values() if each.operation == "parameter" and each.attributes == str(position)
        )
        names, read = [parameter.name], 0.0
        while names:
            name = names.pop()
            for user in callee.values():
                if name not in user.operands:
                    continue
                if user.operation == "bitcast":
                    names.append(user.name)
                elif user.operation in SLICES and user.operands[0] == name:
                    read += size(user.type)
                elif user.operation == "dynamic-update-slice" and user.operands[0] == name:
                    pass
                elif user.operation == "fusion":
                    inner = self.computations[_callee(user) or ""]
                    read += sum(
                        self._read(inner, place, whole)
                        for place, operand in enumerate(user.operands)
                        if operand == name
                    )
                else:
                    return whole
        return min(read, whole)

    def _written(self, callee: dict[str, Instruction], whole: float) -> float:
        """What a fusion writes: only the slice, where it updates one in place."""
        root = next(each for each in callee.values() if each.is_root)
        roots = [callee[name] for name in root.operands] if root.operation == "tuple" else [root]
        written = 0.0
        for each in roots:
            while each.operation == "bitcast":
                each = callee[each.operands[0]]
            if each.operation == "dynamic-update-slice":
                written += size(callee[each.operands[1]].type, anywhere=True)
            elif each.operation == "fusion":
                inner = self.computations[_callee(each) or ""]
                written += self._written(inner, size(each.type))
            else:
                written += size(each.type)
        return min(written, whole)

    def _multiplied(self, body: dict[str, Instruction], instruction: Instruction) -> float:
        if instruction.operation in ("fusion", "fusion-start"):
            callee = self.computations[_callee(instruction) or ""]
            return sum(self._multiplied(callee, each) for each in callee.values())
        result = math.prod(shape(instruction.type))
        if instruction.operation == "convolution":
            left = shape(body[instruction.operands[0]].type)
            labels = re.search(r"dim_labels=(\w+)_", instruction.attributes)
            window = re.search(r"window=\{size=([\dx]+)", instruction.attributes)
            taps = math.prod(map(int, window.group(1).split("x"))) if window else 1
            return 2 * result * taps * (left[labels.group(1).index("f")] if labels else 1)
        contracted = re.search(r'lhs_contracting_dim\w*"?[=:][\[{]"?([\d,"]+)', instruction.attributes)
        if not contracted or not instruction.operands:
            return 0
        left = shape(body[instruction.operands[0]].type)
        return 2 * result * math.prod(left[int(axis)] for axis in re.findall(r"\d+", contracted.group(1)))

    def _sent(self, kind: str, body: dict[str, Instruction], instruction: Instruction) -> float:
        if instruction.operation == "fusion" and (callee := _callee(instruction)):
            inside = self.computations[callee]
            # A TPU's reduce-scatter is an all-reduce of which a slice is left.
            is_scatter = "all-reduce-scatter" in instruction.attributes + callee
            return sum(self._sent(kind, inside, each) / (1 + is_scatter) for each in inside.values())
        operation = instruction.operation.removesuffix("-start")
        if operation not in COLLECTIVES or kind not in operation:
            return 0
        if operation == "reduce-scatter":
            return sum(size(body[name].type, anywhere=True) for name in instruction.operands)
        result = split_last(instruction.type) if instruction.operation == "all-gather-start" else instruction.type
        return size(result, anywhere=True) * (2 if operation == "all-reduce" else 1)


def _callee(instruction: Instruction) -> str | None:
    return instruction.called("calls") or instruction.called("to_apply")


def split_first(type_: str) -> str:
    """The first of a tuple's types."""
    return type_[1:].split(", ")[0]


def split_last(type_: str) -> str:
    """The last of a tuple's types."""
    return type_[1:-1].split(", ")[-1]
