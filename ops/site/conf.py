"""Sphinx's configuration. https://www.sphinx-doc.org/en/master/usage/configuration.html"""

from importlib.metadata import version as installed

project = "Daybook"
author = "Daybook's authors"
version = release = installed("daybook")
extensions = ["myst_parser"]
smartquotes = False  # -- is an option, not a dash
root_doc = "README"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_title = f"Daybook {version}"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_additional_pages = {"index": "index.html"}
templates_path = ["templates"]
exclude_patterns = ["examples"]
myst_heading_anchors = 3
myst_enable_extensions: list[str] = []
# what is typed at a prompt is abbreviated here and there, which no lexer knows
suppress_warnings = ["misc.highlighting_failure"]
