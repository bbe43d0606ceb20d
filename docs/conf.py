"""How Sphinx builds the documentation: `nox -s docs`, or `sphinx-build -W --keep-going -n docs build/docs`."""

from __future__ import annotations

import sys
from pathlib import Path

import proactor_trio

sys.path.insert(0, str(Path(__file__).parent))

project = "proactor_trio"
author = "the authors of proactor_trio"
project_copyright = author
version = release = proactor_trio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "extensions.public_reference"]
exclude_patterns = ["extensions"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"proactor_trio {release}"
html_show_copyright = False
html_show_sourcelink = False
