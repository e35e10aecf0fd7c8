"""Formulas as the docstrings write them, set as mathematics.

A docstring holds its formula as an indented block of plain text, for a reader of `help()`:

    loss = -(1 - e) w_y log p_y    if y > 0

This module parses that notation and writes MathML, which browsers draw without a script. Nothing is guessed: every
token of the text is in the formula, in its order, except parentheses that the bar of a fraction replaces, and a block
that does not parse stays as it is written. Factors stand beside each other; `/` divides the whole product before it by
the one factor after it; `f(x)`, without a blank, is a call, `a (b)` a product; `|P & T|` and `|P | T|` are the sizes of
an intersection and of a union. What stands three blanks to the right, or after ` if `, is a condition.
"""

import html
import re
from collections.abc import Callable

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ",
    "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
}  # fmt: skip
SIGNS = {"+": "+", "-": "−"}
LARGE = {"sum": "∑", "prod": "∏"}
# These take the factor that follows without parentheses: `log p`.
FUNCTIONS = {
    "log", "log1p", "exp", "tanh", "cosh", "sinh", "sin", "cos", "tan", "atan", "acos", "sigmoid", "softmax",
    "softplus", "relu", "sign", "max", "min",
}  # fmt: skip
BELOW = {"max", "min", "mean", "argmax", "argmin"}
RELATIONS = {"=": "=", "!=": "≠", "<": "&lt;", ">": "&gt;", "<=": "≤", ">=": "≥", "in": "∈", "->": "→", "~": "∼"}
BETWEEN = {".": "⋅", "@": "@", "*": "*", "&": "∩"}
# Where one of these stands, a text is prose and no formula.
ENGLISH = {
    "a", "an", "and", "as", "at", "by", "for", "has", "if", "is", "it", "of", "on", "only", "or", "otherwise",
    "such", "that", "the", "there", "where", "with",
}  # fmt: skip
TOKEN = re.compile(
    r"""(?P<number>\d+(?:\.\d+)?(?:e[-+]?\d+)?)
    | (?P<name>[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*)
    | (?P<mark>\|\||!=|<=|>=|->|[-+*/^=<>.,@&|!()\[\]{}_~:'])""",
    re.VERBOSE,
)


class NotAFormulaError(ValueError):
    """The text is not of the notation."""


def _tag(name: str, *parts: str, **attributes: str) -> str:
    opening = " ".join([name, *(f'{key}="{value}"' for key, value in attributes.items())])
    return f"<{opening}>{''.join(parts)}</{name}>"


def _operator(text: str, **attributes: str) -> str:
    return _tag("mo", text, **attributes)


THIN = '<mspace width="0.2em"></mspace>'
APPLY = _operator("&#x2061;")


def _bare(formula: str) -> str:
    """Without the parentheses around the whole, which the bar of a fraction replaces."""
    fence = r'<mo stretchy="\w+">'
    inside = re.fullmatch(rf"<mrow>{fence}\(</mo>(<mrow>.*</mrow>){fence}\)</mo></mrow>", formula)
    if inside and not re.search(r">\)</mo>.*>\(</mo>", inside.group(1)):
        return inside.group(1)
    return formula


class _Parser:
    def __init__(self, text: str, is_public: Callable[[str], bool]) -> None:
        self.text, self.is_public = text, is_public
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        while position < len(text):
            if text[position].isspace():
                position += 1
                continue
            match = TOKEN.match(text, position)
            if match is None:
                raise NotAFormulaError(text)
            self.tokens.append((str(match.lastgroup), match.group(), position))
            position = match.end()
        self.at = 0
        self.bars = 0

    def look(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead][1] if self.at + ahead < len(self.tokens) else ""

    def kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.look()
        if not token or (expected is not None and token != expected):
            raise NotAFormulaError(self.text)
        self.at += 1
        return token

    def touches(self) -> bool:
        """Whether the next token follows the last without a blank."""
        return 0 < self.at < len(self.tokens) and not self.text[self.tokens[self.at][2] - 1].isspace()

    def opens(self) -> bool:
        """Whether the bar that is next opens: nothing before it, and no blank after it."""
        _, token, start = self.tokens[self.at]
        before, after = self.text[:start], self.text[start + len(token) :]
        return (not before or before[-1] in " ([{") and bool(after) and not after[0].isspace()

    def everything(self) -> str:
        formula = self.relations()
        if self.at < len(self.tokens):
            raise NotAFormulaError(self.text)
        return formula

    def relations(self) -> str:
        parts = [self.sum()]
        while True:
            token = self.look()
            if token in RELATIONS:
                parts.append(_operator(RELATIONS[self.take()]))
            elif token == "not" and self.look(1) == "in":
                self.at += 2
                parts.append(_operator("∉"))
            elif token in {",", ":"}:
                parts.append(_operator(self.take(), rspace="0.5em"))
            else:
                return _tag("mrow", *parts)
            parts.append(self.sum())

    def sum(self) -> str:
        parts = [_operator(SIGNS[self.take()], form="prefix")] if self.look() in SIGNS else []
        parts.append(self.product())
        while self.look() in SIGNS:
            parts += [_operator(SIGNS[self.take()]), self.product()]
        return _tag("mrow", *parts)

    def product(self) -> str:
        parts = [self.factor()]
        while True:
            token = self.look()
            if token == "/":
                self.take()
                above = parts[0] if len(parts) == 1 else _tag("mrow", *parts)
                parts = [_tag("mfrac", _bare(above), _bare(self.factor()))]
            elif token in BETWEEN:
                parts += [_operator(BETWEEN[self.take()]), self.factor()]
            elif token == "|" and not self.touches() and not self.opens():
                self.take()
                parts += [_operator("∪" if self.bars else "∣", lspace="0.28em", rspace="0.28em"), self.factor()]
            elif self.starts_factor():
                parts += [THIN, self.factor()]
            else:
                return _tag("mrow", *parts)

    def starts_factor(self) -> bool:
        token = self.look()
        if token in {"|", "||"}:
            return self.opens()
        return (self.kind() in {"number", "name"} and token not in {"in", "not"}) or token in {"(", "["}

    def factor(self) -> str:
        """One factor, with its index and power, and what a function or a sum acts on."""
        token, kind = self.look(), self.kind()
        if kind == "number":
            return self.power(self.number())
        if token in {"(", "["}:
            return self.power(self.fenced(token, {"(": ")", "[": "]"}[token]))
        if token in {"|", "||"}:
            return self.power(self.between_bars())
        if kind != "name" or token in {"in", "not"}:
            raise NotAFormulaError(self.text)
        name, suffix = self.split(self.take())
        if name in LARGE:
            index = self.index(suffix)
            large = _tag("munder", _operator(LARGE[name]), index) if index else _operator(LARGE[name])
            return large + (self.power(self.fenced("(", ")")) if self.calls() else THIN + self.product())
        if name == "sqrt" and self.calls():
            self.take("(")
            root = _tag("msqrt", self.relations())
            self.take(")")
            return self.power(root)
        base = self.named(name)
        index = self.index(suffix)
        if index:
            base = _tag("munder" if name in BELOW else "msub", base, index)
        if self.look() == "[" and self.touches():
            self.take()
            base = _tag("msub", base, _tag("mrow", self.relations()))
            self.take("]")
        function = name in FUNCTIONS or name in BELOW
        if self.calls():
            return self.power(_tag("mrow", base, APPLY, self.fenced("(", ")")))
        base = self.power(base)
        if function and self.calls():  # tanh^2(x)
            return _tag("mrow", base, APPLY, self.fenced("(", ")"))
        if function and self.starts_factor():
            return _tag("mrow", base, APPLY, THIN, self.factor())
        return base

    def calls(self) -> bool:
        return self.look() == "(" and self.touches()

    def split(self, name: str) -> tuple[str, str]:
        """A name and its index: `p_t`; the names of options and of functions have none."""
        base, _, suffix = name.partition("_")
        if not suffix or "_" in suffix or self.is_public(name) or len(suffix) > 3:
            return name, ""
        return base, suffix

    def named(self, name: str) -> str:
        if self.is_public(name) or "_" in name:
            return _tag("mtext", html.escape(name), **{"class": "code"})
        return _tag("mi", GREEK.get(name, name))

    def number(self) -> str:
        mantissa, _, exponent = self.take().partition("e")
        if not exponent:
            return _tag("mn", mantissa)
        power = _tag("msup", _tag("mn", "10"), _tag("mn", exponent.lstrip("+").replace("-", "−")))
        return power if mantissa == "1" else _tag("mrow", _tag("mn", mantissa), _operator("×"), power)

    def index(self, suffix: str) -> str:
        if suffix:
            return _tag("mn", suffix) if suffix.isdigit() else _tag("mi", GREEK.get(suffix, suffix))
        if self.look() == "_" and self.touches():
            self.take()
            return self.braced()
        return ""

    def braced(self) -> str:
        """What stands in braces, as a formula or, where it is prose, as text."""
        start = self.tokens[self.at][2]
        self.take("{")
        opened, first = 1, self.at
        while opened:
            opened += {"{": 1, "}": -1}.get(self.take(), 0)
        inside = self.text[start + 1 : self.tokens[self.at - 1][2]]
        if ENGLISH & {token for _, token, _ in self.tokens[first : self.at]}:
            return _tag("mtext", html.escape(inside))
        return _Parser(inside, self.is_public).everything()

    def power(self, base: str) -> str:
        if self.look() == "_" and self.touches() and self.look(1) == "{":
            base = _tag("msub", base, self.index(""))
        while self.look() in {"^", "!", "'"}:
            mark = self.take()
            if mark == "!":
                base = _tag("mrow", base, _operator("!", form="postfix"))
            elif mark == "'":
                base = _tag("msup", base, _operator("′"))
            else:
                base = _tag("msup", base, self.exponent())
        return base

    def exponent(self) -> str:
        if self.look() == "{":
            return self.braced()
        if self.look() == "(":
            return self.fenced("(", ")")
        sign = _operator(SIGNS[self.take()], form="prefix") if self.look() in SIGNS else ""
        if self.kind() == "number":
            return _tag("mrow", sign, self.number())
        name, suffix = self.split(self.take())
        index = self.index(suffix)
        return _tag("mrow", sign, _tag("msub", self.named(name), index) if index else self.named(name))

    def fenced(self, left: str, right: str) -> str:
        self.take(left)
        bars, self.bars = self.bars, 0
        inside = "" if self.look() == right else self.relations()
        self.bars = bars
        self.take(right)
        tall = "true" if re.search("<(mfrac|munder|msqrt)", inside) else "false"
        return _tag("mrow", _operator(left, stretchy=tall), inside, _operator(right, stretchy=tall))

    def between_bars(self) -> str:
        bar = self.take()
        self.bars += 1
        inside = self.relations()
        self.bars -= 1
        self.take(bar)
        left, right = (_operator({"|": "|", "||": "‖"}[bar], form=form, fence="true") for form in ("prefix", "postfix"))
        norm = _tag("mrow", left, inside, right)
        if self.look() == "_" and self.touches():
            self.take()
            return _tag("msub", norm, self.braced() if self.look() == "{" else self.factor())
        return norm


def _math(text: str, is_public: Callable[[str], bool]) -> str:
    return _Parser(text, is_public).everything()


def _condition(text: str, is_public: Callable[[str], bool]) -> str:
    """A remark beside a formula: prose, with its relations as mathematics."""
    math, given, condition = text.partition("if ") if text.startswith("if ") else text.partition(" if ")
    if given:
        parts = [_math(math, is_public) + _tag("mtext", "&#xA0;")] if math else []
        parts.append(_tag("mtext", "if&#xA0;"))
        for part in re.split(r"\b(and|or)\b", condition):
            conjunction = part in {"and", "or"}
            parts.append(_tag("mtext", f"&#xA0;{part}&#xA0;") if conjunction else _remark(part.strip(), is_public))
        return "".join(parts)
    return _remark(text, is_public)


def _remark(text: str, is_public: Callable[[str], bool]) -> str:
    words = set(re.findall(r"[A-Za-z]+", text))
    if text.startswith(("+", "-")) or (re.search(r" (=|!=|<|>|<=|>=) ", text) and not words & ENGLISH):
        return _math(text, is_public)
    return _tag("mtext", html.escape(text).replace(" ", "&#xA0;"))


def inline(text: str, is_public: Callable[[str], bool]) -> str:
    """MathML of a formula in a line of prose; raises NotAFormulaError."""
    return f"<math>{_math(text, is_public)}</math>"


def block(lines: list[str], is_public: Callable[[str], bool]) -> str:
    """MathML of an indented block: a table of what is defined, what it is, and when; raises NotAFormulaError."""
    rows = []
    for line in lines:
        pieces = re.split(r"\s{3,}(?![\s=])", line.strip())
        formula, conditions = pieces[0], pieces[1:]
        if " if " in formula:
            formula, _, condition = formula.partition(" if ")
            conditions.insert(0, f"if {condition}")
        match = re.match(r"([^=<>!]*\S)\s*=\s+(.*)$", formula)
        left, right = match.groups() if match else ("", formula)
        cells = [
            _math(left, is_public) if left else "",
            _operator("=") if left else "",
            _math(right, is_public),
            _tag("mtext", "&#xA0;&#xA0;").join(_condition(each, is_public) for each in conditions),
        ]
        sides = ("right", "center", "left", "left")
        rows.append(
            _tag(
                "mtr",
                *(
                    _tag("mtd", cell, displaystyle="true", style=f"text-align: {side}")
                    for cell, side in zip(cells, sides, strict=True)
                ),
            )
        )
    return _tag("math", _tag("mtable", *rows), display="block")
