"""Finds weights: in a folder, in the package itself, or on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from snnjax.errors import PathError
from snnjax.paths import expand
from snnjax.spelling import did_you_mean, natural_order
from snnjax.weights import hub

PRETRAINED = 'pretrained:'
"""What the name of weights that come with the package begins with."""

_FOLDER = Path(__file__).parents[1] / 'pretrained'


def list_pretrained() -> list[str]:
    """Returns the names of the trained weights that come with the package."""
    return sorted((path.parent.name for path in _FOLDER.glob('*/model.json')), key=natural_order)


def find_weights(source: str | Path) -> Path:
    """Returns the folder that weights are in.

    Args:
      source: a folder of weights, the work directory of a run, ``pretrained:NAME`` with a name of
        `list_pretrained`, or ``hf://OWNER/NAME[@REVISION]``, see `snnjax.weights.hub.fetch`.

    Raises:
      PathError: if there are no weights of this name in the package or on the Hub, or the path
        begins with an unknown ``~user``.
    """
    text = str(source)
    if text.startswith(hub.HUB):
        return hub.fetch(text)
    if not text.startswith(PRETRAINED):
        return expand(source)
    name, known = text.removeprefix(PRETRAINED), list_pretrained()
    if name not in known:
        raise PathError(f'no weights {name!r} come with the package; {did_you_mean(name, known)}')
    return _FOLDER / name
