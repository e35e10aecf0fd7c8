"""Formulas, names and LaTeX in the pages, without a script and without a server: all mathematics is MathML."""

import functools
import html
import re
from typing import Any

import formulas
import latex2mathml.converter
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

import jaxloss


@functools.cache
def is_public(name: str) -> bool:
    """Whether a name is a public function, whose name a formula shows as it is written."""
    return name in jaxloss.__all__ and callable(getattr(jaxloss, name))


class Formula(SphinxDirective):
    """An indented block of a docstring: a formula, or what it is if it does not parse as one."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The block as mathematics, or as text."""
        text = "\n".join(self.content)
        try:
            mathml = formulas.block(list(self.content), is_public)
        except formulas.NotAFormulaError:
            try:
                compile(text, "docstring", "exec")
                language = "python"
            except SyntaxError:
                language = "text"
            self.env.app.emit("formula-as-text", text)
            return [nodes.literal_block(text, text, language=language)]
        return [nodes.raw("", f'<div class="formula" title="{html.escape(text)}">{mathml}</div>', format="html")]


def reference_to(name: str, code: nodes.literal) -> addnodes.pending_xref:
    """A link to the entry of a public name."""
    return addnodes.pending_xref(
        "", code, refdomain="py", reftype="obj", reftarget=f"jaxloss.{name}", refexplicit=False, refwarn=True
    )


def name_or_formula(
    role: str, source: str, text: str, line: int, inliner: Any, options: Any = None, content: Any = ()
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """What stands in single backticks: a public name becomes a link, a formula mathematics, all else is code."""
    public = text.removeprefix("jaxloss.")
    if is_public(public) or (public != text and public in jaxloss.__all__):
        return [reference_to(public, nodes.literal(text, text))], []
    if re.search(r"\^|\||\bsum_| / | - |\A[a-z]_\w{1,2}\Z", text) and "=" not in text:
        try:
            return [nodes.raw("", formulas.inline(text, is_public), format="html")], []
        except formulas.NotAFormulaError:
            pass
    return [nodes.literal(text, text)], []


def latex(text: str, display: str) -> str:
    """LaTeX of the notebooks as MathML, with script letters as characters: no browser knows them as a style."""
    mathml = latex2mathml.converter.convert(text, display=display)
    mathml = re.sub(r"(<mi>[a-z]{2,}</mi>)(?!<mo)", r'\1<mspace width="0.17em" />', mathml)  # log x
    script = r'<mi mathvariant="script">([A-Z])</mi>'
    return re.sub(script, lambda letter: f"<mi>{chr(ord('𝒜') + ord(letter[1]) - ord('A'))}</mi>", mathml)


def visit_inline(self: Any, node: nodes.math) -> None:
    """A formula in a line."""
    self.body.append(latex(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """A formula of its own."""
    self.body.append(f'<div class="formula">{latex(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx."""
    app.add_event("formula-as-text")
    app.add_directive("formula", Formula)
    app.add_role("name-or-formula", name_or_formula)
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
