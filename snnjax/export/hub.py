"""Uploads of weights to the Hugging Face Hub, with a page that describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snnjax.errors import UserError, WeightsError
from snnjax.spelling import count
from snnjax.weights.folder import describe_weights
from snnjax.weights.hub import FILES, HUB, split_name
from snnjax.weights.safetensors import read_safetensors


class HubError(UserError, OSError):
    """The Hub has refused weights or cannot be reached; the message gives the reason."""


def push(folder: Path, destination: str, *, private: bool = False) -> str:
    """Uploads a folder of weights to the Hub, with its card and a page about it.

    The repository is created if it does not exist. The account is that of ``HF_TOKEN`` or of an
    earlier ``hf auth login``.

    Args:
      folder: a folder of safetensors, as `snnjax.tools.export` writes it.
      destination: the address, ``hf://OWNER/NAME``, or ``hf://OWNER/NAME@BRANCH`` for a branch that
        exists.
      private: True if a new repository is to be visible to its owner only.

    Returns:
      The URL of the commit.

    Raises:
      HubError: if the Hub refuses the weights or cannot be reached.
      ImportError: if ``huggingface-hub`` is not installed.
      PathError: if the destination has another form.
      WeightsError: if the folder has other files, no license, or damaged weights.
    """
    repository, branch = split_name(destination)
    card = _read_card(folder)
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    contents = {name: (folder / name).read_bytes() for name in FILES}
    contents['README.md'] = describe(card, repository).encode()
    operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
    api = HfApi(library_name='snnjax')
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        commit = api.create_commit(
            repository, operations, commit_message=f'Weights of {card["name"]}', revision=branch
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().partition('\n')[0]
        raise HubError(f'{destination} does not accept the weights: {reason}') from error
    return str(commit.commit_url)


def _read_card(folder: Path) -> dict[str, Any]:
    """Returns the content of ``model.json`` if the folder can be uploaded."""
    describe_weights(folder)
    others = sorted({path.name for path in folder.iterdir()} - {*FILES, 'README.md'})
    if others or not all((folder / name).is_file() for name in FILES):
        found = f': it has {", ".join(others)}' if others else ''
        raise WeightsError(
            f'{folder} is not a folder of safetensors{found}; make one with\n'
            f'  python -m snnjax.tools.export --weights={folder} --format=safetensors --out=DIR'
        )
    card: dict[str, Any] = json.loads((folder / 'model.json').read_text())
    if not isinstance(card.get('licence'), str):
        raise WeightsError(
            f'{folder / "model.json"} has no license: fill in the name of one, such as "Apache-2.0"'
        )
    try:
        read_safetensors(folder / 'variables.safetensors')
    except ValueError as error:
        raise WeightsError(str(error)) from error
    return card


def describe(card: Mapping[str, Any], repository: str) -> str:
    """Returns the page of a repository: Markdown with the header that the Hub reads.

    Args:
      card: the content of ``model.json``.
      repository: the repository's name, ``OWNER/NAME``.
    """
    header = {
        'license': card['licence'].lower(),
        'library_name': 'snnjax',
        'tags': ['spiking-neural-network', 'jax'],
    }
    options = card['options']
    steps = options.get('num_steps')
    about = [f'`{card["name"]}`']
    if steps:
        about.append(count(steps, 'time step'))
    if 'parameters' in card:
        about.append(count(card['parameters'], 'parameter'))
    lines = [
        '---',
        # JSON is valid YAML.
        *(f'{key}: {json.dumps(value)}' for key, value in header.items()),
        '---',
        '',
        f'# {repository.partition("/")[2]}',
        '',
        f'A spiking network of [snnjax](https://pypi.org/project/snnjax): {", ".join(about)}.',
        '',
        '```python',
        'import snnjax',
        '',
        f"network = snnjax.load('{HUB}{repository}')",
        "print(network.classify(['photo.jpg'])[0].name)",
        '```',
        '',
        'The content of `model.json`:',
        '',
        '```json',
        json.dumps(dict(card), indent=2),
        '```',
    ]
    return '\n'.join(lines) + '\n'
