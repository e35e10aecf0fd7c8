"""How the documentation is built: `python -m sphinx -W docs docs/_build`, with the extra `docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

import jaxloss  # noqa: E402 the clone's, whether installed or not

project = "jaxloss"
author = "The jaxloss authors"
copyright = author  # noqa: A001 Sphinx's name for it
version = release = jaxloss.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference"]
exclude_patterns = ["_build", "_extensions", "jupyter_execute"]  # the last is where myst-nb writes
default_role = "name-or-formula"
add_module_names = False
python_maximum_signature_line_length = 60
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False

nb_execution_mode = "off"  # the notebooks are stored with their outputs
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

html_theme = "sphinx_book_theme"
html_title = f"jaxloss {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["jaxloss.css"]
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # the search field is in the sidebar
    # Wide tables take the place of the page's contents.
    "secondary_sidebar_items": {
        "**": ["page-toc"],
        "losses": [],
        "coming_from_pytorch": [],
        "benchmarks/RESULTS": [],
        "benchmarks/RESULTS_ACCELERATORS": [],
        "benchmarks/RESULTS_MESH": [],
        "benchmarks/RESULTS_JAX_0_12": [],
    },
}
