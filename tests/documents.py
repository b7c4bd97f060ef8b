"""The documents, their blocks of code, and the commands in them."""

import dataclasses
import re
import shlex
import textwrap
from pathlib import Path

from tests.conftest import ROOT

DOCUMENTS = sorted(ROOT.glob('*.md')) + sorted((ROOT / 'docs').rglob('*.md'))

_BLOCK = re.compile(
    r'(?:^ *<!-- unchecked: (?P<reason>[^>]*) -->\n)?'
    r'^ *```(?P<language>\w+)\n(?P<code>.*?)^ *```$',
    re.DOTALL | re.MULTILINE,
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
      page: that it is in, as ``docs/data.md``.
      language: 'python', 'sh' or another.
      code: without indentation.
      reason: why it cannot be checked, which a comment before it tells; '' for those that can.
    """

    page: str
    language: str
    code: str
    reason: str


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks(language: str) -> list[Block]:
    """All blocks of a language, page by page."""
    return [
        block
        for document in DOCUMENTS
        for block in blocks_of(document.read_text(), language, name_of(document))
    ]


def blocks_of(text: str, language: str, page: str) -> list[Block]:
    """The blocks of a language in a page, or in a part of it."""
    return [
        Block(page, language, textwrap.dedent(match['code']), match['reason'] or '')
        for match in _BLOCK.finditer(text)
        if match['language'] == language
    ]


def commands(code: str) -> list[list[str]]:
    """The words of each command of a shell script, without comments."""
    lines = code.replace('\\\n', ' ').splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]
