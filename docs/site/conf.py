"""How Sphinx makes the site (`make docs`): of the Markdown that a git host shows as well, and of docstrings. Pages fetch nothing."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.inspect import TypeAliasForwardRef

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import refusals  # noqa: E402  (it lies beside this file, which Sphinx reads as text)

# Remedies are asked for files that do not exist, which GDAL logs.
logging.getLogger("rasterio").setLevel(logging.WARNING)

NAVIGATION = {
    "Use": [
        "setup",
        "tutorial",
        "input",
        "concepts",
        "change",
        "tracking",
        "embeddings",
        "export",
        "gpu",
        "when_things_go_wrong",
    ],
    "What was measured": ["ablation", "audit", "outlines", "coregistration", "benchmarks"],
    "Inside": ["../ARCHITECTURE", "library"],
}
"""Pages by heading. The build fails for a page that is missing here: it is in no list of contents."""

project = "HPCL-Net"
html_title = project
html_theme = "furo"
html_static_path = ["wide.css"]
html_css_files = ["wide.css"]
html_extra_path = ["index.html"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False

# The root of the repository is the source, so that relative links mean the same here and on a git host.
root_doc = "README"
exclude_patterns = [path.name for path in ROOT.iterdir() if path.name not in ("README.md", "ARCHITECTURE.md", "docs")]
exclude_patterns += ["docs/html"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 4
smartquotes = False  # a command is no prose
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("Array", "Codes", "Float32")}
TypeAliasForwardRef.__repr__ = lambda self: self.name  # type: ignore[method-assign]  # within tuple[...] it names itself


def _add(app: Sphinx, page: str, text: list[str]) -> None:
    """What a page has here only: the list of contents, and the sentences of the code."""
    if page == root_doc:
        for heading, pages in NAVIGATION.items():
            names = "\n".join(f"docs/{name}".replace("docs/../", "") for name in pages)
            text[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{names}\n```\n"
    elif page == "docs/when_things_go_wrong":
        text[0] += refusals.markdown(refusals.code(ROOT))


def setup(app: Sphinx) -> None:
    """Add to pages what only the site has."""
    app.connect("source-read", _add)
