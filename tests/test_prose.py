"""Docstrings begin with a verb or a noun, and argument lines are noun phrases or sentences."""

import ast
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ('snnjax', 'configs', 'benchmarks')

NO_BEGINNING = {'as', 'by', 'for', 'how', 'in', 'of', 'see', 'that', 'those'}
NO_BEGINNING |= {'what', 'where', 'whether'}
# An argument line also needs a noun before these words.
NO_ARGUMENT = {'after', 'at', 'before', 'beside', 'between', 'from', 'likewise', 'on', 'over', 'to'}
NO_ARGUMENT |= {'under', 'which', 'whose', 'with', *NO_BEGINNING} - {'those'}

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_SECTION = re.compile(r'[A-Z]\w*:$')
_ARGUMENT = re.compile(r'(?P<indent> +)\*{0,2}\w+(, \*{0,2}\w+)*: +(?P<text>.*)')


def first_word(text):
    return re.match(r'\w*', text)[0]


def fragments(source):
    """Yields the line number and the text of each beginning that a reader has to complete."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, _DOCUMENTED) or ast.get_docstring(node) is None:
            continue
        begin = node.body[0].value
        lines = inspect.cleandoc(begin.value).splitlines()
        word = first_word(lines[0])
        if word.istitle() and word.lower() in NO_BEGINNING:
            yield begin.lineno, lines[0]
        for offset, line in argument_lines(lines):
            if first_word(_ARGUMENT.match(line)['text']).lower() in NO_ARGUMENT:
                yield begin.lineno + offset, line.strip()


def argument_lines(lines):
    """Yields the first line of each argument and attribute, with its offset."""
    section, indent = '', ''
    for offset, line in enumerate(lines):
        if line and not line.startswith(' '):
            section, indent = line if _SECTION.match(line) else '', ''
        elif section in ('Args:', 'Attributes:') and (entry := _ARGUMENT.match(line)):
            # Text that belongs to an entry is indented further than the first one.
            indent = indent or entry['indent']
            if entry['indent'] == indent:
                yield offset, line


@pytest.mark.parametrize('folder', FOLDERS)
def test_docstrings_and_argument_lines_are_complete_phrases(folder):
    found = [
        f'{path.relative_to(ROOT)}:{line}: {text}'
        for path in sorted((ROOT / folder).rglob('*.py'))
        for line, text in fragments(path.read_text())
    ]
    assert not found, 'begin with a verb, a noun or an article:\n' + '\n'.join(found)


SOURCE = '''"""Of a module."""

def function(a, *b):
    """Returns what it is given.

    Args:
      a: of the function,
        b: not an argument.
      *b: the others.

    Returns:
      a: of the result.
    """

class Name:
    """How it works.

    Attributes:
      c, d: Whose value counts.
    """

    async def _method(self):
        """Awaits nothing: in vain."""

    def outcome(self):
        """Information for others."""
'''


def test_fragments_are_found_with_their_lines():
    assert sorted(fragments(SOURCE)) == [
        (1, 'Of a module.'),
        (7, 'a: of the function,'),
        (16, 'How it works.'),
        (19, 'c, d: Whose value counts.'),
    ]
