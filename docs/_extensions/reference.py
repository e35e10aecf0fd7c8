"""The reference follows from the package: a page a family, an entry a public name, and a build that fails without.

Pages are written from `jaxloss.__all__` before Sphinx looks for pages: a new family or a new loss needs no line here.
"""

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import SphinxError
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata
from typesetting import is_public, reference_to

import jaxloss

LOGGER = logging.getLogger(__name__)
# Paragraphs of one line's beginning that become fields, beside the parameters and what is returned.
FIELDS = ("PyTorch", "Elsewhere", "Reference")
REMOTE = re.compile(r"""<(?:(?:script|img|iframe)\b[^>]*\bsrc|link\b[^>]*\bhref)=["'](?:https?:)?//[^"']*""")


class IncompleteError(SphinxError):
    """Something that a reader would miss."""

    category = "Incomplete documentation"


def families() -> list[ModuleType]:
    """The public modules, in the order of the alphabet."""
    public = (getattr(jaxloss, name) for name in sorted(jaxloss.__all__))
    return [each for each in public if inspect.ismodule(each)]


def home(name: str) -> ModuleType | None:
    """The family of a public name: where it is defined, else the first that holds it."""
    public = getattr(jaxloss, name)
    holders = [family for family in families() if vars(family).get(name) is public]
    defining = [family for family in holders if family.__name__ == getattr(public, "__module__", "")]
    return next(iter(defining + holders), None)


def members(family: ModuleType) -> dict[str, str]:
    """What a family's page documents, in the order of the source: names as users write them, and the kind of each."""
    if flat := [name for name in vars(family) if name in jaxloss.__all__ and home(name) is family]:
        return {f"jaxloss.{name}": kind(getattr(jaxloss, name)) for name in flat}
    # A module whose names are not at the top, as `reductions`: those that say what their arguments are.
    names = getattr(family, "__all__", None) or [
        name
        for name, each in vars(family).items()
        if getattr(each, "__module__", "") == family.__name__ and "Args:" in (inspect.getdoc(each) or "")
    ]
    return {f"{family.__name__}.{name}": kind(getattr(family, name)) for name in names}


def kind(public: Any) -> str:
    """The directive that documents it."""
    return "class" if inspect.isclass(public) else "function" if callable(public) else "data"


def title(family: ModuleType) -> str:
    """`metric_learning` is "Metric learning"."""
    return family.__name__.rpartition(".")[2].replace("_", " ").capitalize()


def docstring(name: str) -> str:
    """That of a name as users write it, `jaxloss.reductions.mean`."""
    return inspect.getdoc(functools.reduce(getattr, name.split(".")[1:], jaxloss)) or ""


def first_sentence(name: str) -> str:
    """What a list says of a name: the first paragraph of its docstring, to the end of its first sentence."""
    text = " ".join(docstring(name).split("\n\n")[0].split())
    return re.split(r"(?<=[.;])\s", text)[0].rstrip(":;.") + "."


def pages() -> Iterator[tuple[str, str]]:
    """The pages' names and texts."""
    about = f"The public names of jaxloss {jaxloss.__version__}, by what they are for."
    index = ["Reference", "=========", "", about, "", ".. toctree::", "   :hidden:", ""]
    index += [f"   {family.__name__.rpartition('.')[2]}" for family in families()]
    for family in families():
        page, heading = family.__name__.rpartition(".")[2], title(family)
        listed = [line for name in members(family) for line in (f":py:obj:`{name}`", f"   {first_sentence(name)}", "")]
        index += ["", f":doc:`{heading} <{page}>`", "-" * (len(heading) + len(page) + 11), "", *listed]
        text = [heading, "=" * len(heading), "", f".. automodule:: {family.__name__}", ""]
        for name, directive in members(family).items():
            text += [f".. auto{directive}:: {name}", ""]
        yield f"{page}.rst", "\n".join(text)
    yield "index.rst", "\n".join(index) + "\n"


def write_pages(app: Sphinx) -> None:
    """Before the pages are read: the reference, and copies of what stands elsewhere. What is no longer there goes."""
    source = Path(app.srcdir)
    folders = {
        "reference": dict(pages()),
        "notebooks": texts_of(source.parent / "examples", "*.ipynb"),
        "benchmarks": {name: moved(text) for name, text in texts_of(source.parent / "benchmarks", "*.md").items()},
    }
    for folder, texts in folders.items():
        if not texts:
            raise IncompleteError(f"No pages for {folder}")
        (source / folder).mkdir(exist_ok=True)
        for stale in set((source / folder).iterdir()) - {source / folder / name for name in texts}:
            stale.unlink()
        for name, text in texts.items():
            path = source / folder / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:  # else nothing is built again
                path.write_text(text, encoding="utf-8")


def texts_of(folder: Path, pattern: str) -> dict[str, str]:
    """Files by their names."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob(pattern)}


def moved(text: str) -> str:
    """A page of the repository as one of docs/: its links to docs/ stay here, those to code become names."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\.py\)", r"`\1`", text.replace("](../docs/", "](../"))


def links_to_copies(app: Sphinx, page: str, source: list[str]) -> None:
    """A link out of docs/, which works in a clone, leads to the copy."""
    source[0] = source[0].replace("](../benchmarks/", "](benchmarks/")


def check_entries(app: Sphinx, env: BuildEnvironment) -> None:
    """Every public name has one entry, with a text: else the build fails, with or without -W."""
    entries = env.domains.python_domain.objects
    wanted = {f"jaxloss.{name}" for name in jaxloss.__all__} | {name for each in families() for name in members(each)}
    if missing := sorted(wanted - entries.keys()):
        raise IncompleteError(f"No entry for {', '.join(missing)}: is the module of each in jaxloss.__all__?")
    if bare := sorted(name for name in wanted if not docstring(name)):
        raise IncompleteError(f"No docstring: {', '.join(bare)}")


def check_assets(app: Sphinx, exception: Exception | None) -> None:
    """No page loads anything from elsewhere: links may lead out, scripts, styles, fonts and pictures may not."""
    if exception or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        if found := REMOTE.search(path.read_text(encoding="utf-8")):
            raise IncompleteError(f"{path.name} loads from elsewhere: {found.group()}")


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """In the pages that are not the reference, a public function's name as code, with options or not, is a link."""
    for code in list(doctree.findall(nodes.literal)):
        name = code.astext().partition("(")[0].removeprefix("jaxloss.")
        if is_public(name) and not isinstance(code.parent, nodes.reference | nodes.title | addnodes.pending_xref):
            code.replace_self(reference_to(name, code.deepcopy()))


def as_written(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """The signature as the source has it: evaluated, jaxtyping's annotations fill a page."""
    if what != "function":
        return signature, returns
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(obj)))).body[0]
    if not isinstance(tree, ast.FunctionDef):
        return signature, returns
    # jaxtyping wants a blank before a single axis, so that editors do not take it for a name.
    arguments = re.sub(r"' (\w+')", r"'\1", ast.unparse(tree.args))
    return f"({arguments})", ast.unparse(tree.returns) if tree.returns else None


def mark_up(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """From the docstrings' form to what Sphinx reads, before napoleon takes the sections of arguments."""
    text = "\n".join(lines)
    head, arguments, rest = text.partition("\nArgs:\n")
    # Prose may hold |d|, which is no substitution there.
    prose = r"(?m)^(?!    ).*\|.*$"
    head = re.sub(prose, lambda line: outside_code(line[0], lambda part: part.replace("|", r"\|")), head)
    head = re.sub(r"\n\n((?:    .*(?:\n|\Z)|\n(?=    ))+)", lambda block: f"\n\n.. formula::\n\n{block[1]}\n", head)
    for field in FIELDS:
        pattern = rf"(?ms)^{field}: (.*?)(?=\n\n|\Z)"
        rest = re.sub(pattern, lambda found: f":{field}: {' '.join(links(found[1]).split())}", rest)  # noqa: B023
    rest = re.sub(r"\n\n(>>> )", r"\n\n.. rubric:: Example\n\n\1", rest, count=1)
    lines[:] = (head + arguments + rest).split("\n")


def outside_code(line: str, change: Callable[[str], str]) -> str:
    """A line with what is not in backticks changed."""
    return "".join(part if part.startswith("`") else change(part) for part in re.split(r"(`[^`]*`)", line))


def links(reference: str) -> str:
    """Papers by their numbers, as links. A first name's initial at the beginning would be the number of a list."""
    reference = re.sub(r"\A([A-Z])\.", r"\1\\.", reference)
    reference = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"`arXiv:\1 <https://arxiv.org/abs/\1>`__", reference)
    return re.sub(r"doi:(10\.\S+?)(?=[.,;]?(?:\s|$))", r"`doi:\1 <https://doi.org/\1>`__", reference)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx."""
    app.setup_extension("typesetting")
    app.connect("builder-inited", write_pages)
    app.connect("source-read", links_to_copies)
    app.connect("doctree-read", link_names)
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-process-docstring", mark_up, priority=400)
    app.connect("formula-as-text", lambda app, text: LOGGER.info("Not a formula, left as text: %s", text))
    app.connect("env-check-consistency", check_entries)
    app.connect("build-finished", check_assets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
