"""Makes the site of these pages, which can be read as they are, too: make docs."""

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
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.util.docutils import SphinxDirective

from snnjax.tools.command_line import as_called
from snnjax.version import __version__

project = 'snnjax'
copyright = f'The {project} authors'  # noqa: A001
version = release = __version__
extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.mathjax',
    'sphinx.ext.viewcode',
]
html_theme = 'furo'
html_title = f'snnjax {__version__}'
html_show_sphinx = False
html_static_path = ['_static']
html_css_files = ['site.css']
smartquotes = False  # They make a dash of --config.
python_maximum_signature_line_length = 88
# Pages that a page of the site includes.
exclude_patterns = ['_build', 'decisions/README.md']
myst_enable_extensions = ['dollarmath', 'amsmath']
myst_heading_anchors = 3
# Names in docstrings lead to what they name, if that has a place here.
default_role = 'py:obj'
autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
linkcheck_anchors = False

REPOSITORY = Path(__file__).parents[1]
# The pages of what is written elsewhere.
PAGES = {
    'README.md': 'project/readme.md',
    'CONTRIBUTING.md': 'project/contributing.md',
    'CHANGELOG.md': 'project/changelog.md',
    'SECURITY.md': 'project/security.md',
    'docs/decisions/README.md': 'decisions/index.md',
}
_FENCED = re.compile(r'(^```.*?^```$)', re.DOTALL | re.MULTILINE)
_LINK = re.compile(r'(?<!!)\[([^\[\]]+)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)')


def resolve_links(text: str, file: Path) -> str:
    """Relative links of a Markdown file, as they are in the repository, as they are in the site.

    What is outside of ``docs`` and has no page is named instead: the site has no copy of it.
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

    parts = _FENCED.split(text)
    parts[::2] = [_LINK.sub(resolve, part) for part in parts[::2]]
    return ''.join(parts)


def _on_source(app: Sphinx, page: str, content: list[str]) -> None:
    content[0] = resolve_links(content[0], Path(app.env.doc2path(page)))


def _on_include(app: Sphinx, file: Path, page: str, content: list[str]) -> None:
    del page
    content[0] = resolve_links(content[0], Path(app.srcdir, file))


class Command(SphinxDirective):
    """What a command of a module says of itself: its docstring, and its arguments."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Nodes of the docstring and of the arguments."""
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
    """The docstring of a command and its help, both as for a call of ``snnjax COMMAND``."""
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


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    os.environ['COLUMNS'] = '88'  # Of the help of commands.
    for field in PyObject.doc_field_types:
        if field.name == 'variable':
            field.label = 'Attributes'  # As docstrings have it.
    app.connect('source-read', _on_source)
    app.connect('include-read', _on_include)
    app.add_directive('command', Command)
