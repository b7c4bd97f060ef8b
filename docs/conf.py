"""Sphinx configuration of the documentation site (make docs).

The pages are plain Markdown and can also be read in the repository.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import os
import re
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert as to_mathml
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from snnjax.tools.command_line import as_called
from snnjax.version import __version__

project = 'snnjax'
copyright = f'The {project} authors'  # noqa: A001
version = release = __version__
extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
]
html_theme = 'furo'
html_title = f'snnjax {__version__}'
html_show_sphinx = False
html_math_renderer = 'mathml'
html_static_path = ['_static']
html_css_files = ['site.css']
smartquotes = False  # Smart quotes turn the hyphens of --config into a dash.
python_maximum_signature_line_length = 88
# Pages that another page includes.
exclude_patterns = ['_build', 'decisions/README.md']
myst_enable_extensions = ['dollarmath', 'amsmath']
myst_heading_anchors = 3
# A name in backticks in a docstring links to its reference entry, if it has one.
default_role = 'py:obj'
autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
linkcheck_anchors = False

REPOSITORY = Path(__file__).parents[1]
# Files of the repository that have a page of their own on the site.
PAGES = {
    'README.md': 'project/readme.md',
    'CONTRIBUTING.md': 'project/contributing.md',
    'CHANGELOG.md': 'project/changelog.md',
    'SECURITY.md': 'project/security.md',
    'docs/decisions/README.md': 'decisions/index.md',
}
_FENCED = re.compile(r'(^```.*?^```$)', re.DOTALL | re.MULTILINE)
_IMAGE = re.compile(r'!\[([^\[\]]*)\]\((?!\w+:)([^)\s]+)\)')
_LINK = re.compile(r'(?<!!)\[([^\[\]]+)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)')


def resolve_links(text: str, file: Path) -> str:
    """Returns Markdown text with its relative links rewritten for the site.

    A link to a file outside ``docs`` that has no page becomes the file's name: the site has no
    copy of such a file.
    """

    def resolve(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ''
        path = (file.parent / target).resolve()
        if (path / 'README.md').is_file():
            path /= 'README.md'
        if not path.is_relative_to(REPOSITORY) or not path.exists():
            return match[0]
        name = str(path.relative_to(REPOSITORY))
        if name in PAGES:
            return f'[{words}](/{PAGES[name]}{anchor})'
        if name.startswith('docs/') and path.is_file():
            return f'[{words}](/{name.removeprefix("docs/")}{anchor})'
        if Path(target).name not in words:
            return f'{words} (`{name}`)'
        return words if '`' in words else f'`{words}`'

    def resolve_image(match: re.Match[str]) -> str:
        path = (file.parent / match[2]).resolve()
        return f'![{match[1]}](/{path.relative_to(REPOSITORY / "docs")})'

    parts = _FENCED.split(text)
    parts[::2] = [_IMAGE.sub(resolve_image, _LINK.sub(resolve, part)) for part in parts[::2]]
    return ''.join(parts)


def _on_source(app: Sphinx, page: str, content: list[str]) -> None:
    content[0] = resolve_links(content[0], Path(app.env.doc2path(page)))


def _on_include(app: Sphinx, file: Path, page: str, content: list[str]) -> None:
    del page
    content[0] = resolve_links(content[0], Path(app.srcdir, file))


class Command(SphinxDirective):
    """A directive that shows the docstring and the arguments of a command."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Returns the nodes of the docstring and of the arguments."""
        (name,) = self.arguments
        file = REPOSITORY / f'{name.replace(".", "/")}.py'
        self.env.note_dependency(file)
        docstring, arguments = _help_of(name, ast.parse(file.read_text()))
        text = re.sub(r'(?<=\n\n)((?:  .*\n?|\n(?=  ))+)', _fenced, docstring)
        arguments = re.sub(r'\n{3,}', '\n\n', arguments.replace(docstring, ''))
        return [
            *self.parse_text_to_nodes(text),
            *self.parse_text_to_nodes(f'```text\n{arguments.strip()}\n```'),
        ]


def _fenced(match: re.Match[str]) -> str:
    block = inspect.cleandoc(match[0])
    return f'```{"sh" if block.startswith("snnjax") else "text"}\n{block}\n```\n'


def _help_of(name: str, source: ast.Module) -> tuple[str, str]:
    """Returns a command's docstring and its help text, both written for ``snnjax COMMAND``."""
    module = importlib.import_module(name)
    command = 'train' if name == 'snnjax.main' else name.rpartition('.')[2]
    before, sys.argv = sys.argv, [f'snnjax {command}']
    try:
        docstring = as_called(ast.get_docstring(source) or '')
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
            module.main(['--help'])
    finally:
        sys.argv = before
    return docstring, printed.getvalue()


def _inline_math(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(to_mathml(node.astext()))
    raise nodes.SkipNode


def _display_math(translator: HTML5Translator, node: nodes.math_block) -> None:
    formula = to_mathml(node.astext(), display='block')
    translator.body.append(f'<div class="formula">{formula}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Registers the directive, the link rewriting and the math renderer with Sphinx."""
    os.environ['COLUMNS'] = '88'  # The width of the help texts.
    # MathML in the page needs no network and no JavaScript; MathJax would be loaded from a CDN.
    app.add_html_math_renderer('mathml', (_inline_math, None), (_display_math, None))
    for field in PyObject.doc_field_types:
        if field.name == 'variable':
            field.label = 'Attributes'  # The label that the docstrings use.
    app.connect('source-read', _on_source)
    app.connect('include-read', _on_include)
    app.add_directive('command', Command)
