"""Weights on the Hugging Face Hub, where a repository is a folder of weights.

Only ``model.json`` and ``variables.safetensors`` are read. Neither can hold executable code.
"""

from __future__ import annotations

import re
from pathlib import Path

from snnjax.errors import PathError

HUB = 'hf://'
"""The prefix of the names of weights on the Hub."""

FILES = ('model.json', 'variables.safetensors')
"""The files of a repository that are used."""

_NAME = re.compile(r'hf://(?P<repository>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+))?')


def split_name(source: str) -> tuple[str, str | None]:
    """Returns the repository and the revision of ``hf://OWNER/NAME[@REVISION]``.

    Raises:
      PathError: if the text has another form.
    """
    match = _NAME.fullmatch(source)
    if match is None:
        raise PathError(f'{source} must be hf://OWNER/NAME or hf://OWNER/NAME@REVISION')
    return match['repository'], match['revision']


def fetch(source: str) -> Path:
    """Downloads weights from the Hub, unless they are in the cache already.

    With ``HF_HUB_OFFLINE=1`` the network is not used, and only weights in the cache are found.
    ``HF_TOKEN`` gives access to private repositories.

    Args:
      source: the address, ``hf://OWNER/NAME`` or ``hf://OWNER/NAME@REVISION``; the revision is a
        branch, tag or commit.

    Returns:
      The folder of weights, in the cache of ``huggingface-hub``.

    Raises:
      PathError: if there are no weights of this name, they cannot be reached, or
        ``huggingface-hub`` is not installed.
    """
    repository, revision = split_name(source)
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise PathError(f"{source} needs huggingface-hub: pip install 'snnjax[hub]'") from error
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(FILES)))
    except LocalEntryNotFoundError as error:
        raise PathError(
            f'{source} was not fetched before, and the Hub cannot be reached (or HF_HUB_OFFLINE '
            'is set)'
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().partition('\n')[0]
        raise PathError(f'{source} cannot be fetched: {reason}') from error
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise PathError(
            f'{source} has no {" and no ".join(missing)}: only weights that snnjax has exported '
            'as safetensors can be read'
        )
    return folder
