"""Sphinx settings: Markdown pages, warnings are errors."""

project = "Hornbook"
author = "The Hornbook founders"
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist", "html_image"]
