"""Sphinx configuration: `python run.py docs` builds the site into docs/_build, without a network."""

project = "stg_attr"
author = "The stg_attr developers"
copyright = "2026, the stg_attr developers"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_show_sourcelink = False
html_extra_path = ["gallery"]

autodoc_typehints = "none"  # the docstrings give types as shapes
autodoc_member_order = "bysource"
myst_heading_anchors = 3
