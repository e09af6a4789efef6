"""Sphinx: ``./run docs``."""

from importlib.metadata import version as version_of

project = "Flask-LMS"
author = "Flask-LMS contributors"
copyright = "2026, Flask-LMS contributors"
version = release = version_of("Flask-LMS")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
suppress_warnings = ["myst.xref_missing"]

html_theme = "furo"
html_title = "Flask-LMS"
nitpicky = False
