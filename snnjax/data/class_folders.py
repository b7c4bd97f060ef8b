"""Data sets whose files lie in a folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snnjax.data.archives import Member

SPLIT_FOLDERS = {'train': 'train', 'test': 'test', 'val': 'test', 'validation': 'test'}


def group_by_class(
    members: Sequence[Member], source: Path
) -> tuple[list[str], dict[str, list[tuple[Member, int]]]]:
    """Sorts files by the folders that they are in.

    Args:
      members: named ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``, all below the same folders, if any.
      source: where they are from, for errors.

    Returns:
      The names of the classes, sorted as torchvision does, and (file, label) by split: 'train' and
      'test', or 'undivided'; in the order of the classes, and in natural order for each.

    Raises:
      ValueError: for another layout.
    """
    paths = [member.name.split('/') for member in members]
    shared = 0
    while all(len(path) > shared + 2 for path in paths) and len({p[shared] for p in paths}) == 1:
        shared += 1
    paths = [path[shared:] for path in paths]
    splits = {path[0].lower() for path in paths}
    has_splits = splits <= SPLIT_FOLDERS.keys()
    grouped: dict[str, list[tuple[Member, str]]] = {}
    for member, path in zip(members, paths, strict=True):
        if len(path) < 2 + has_splits:
            raise ValueError(
                f'{member.name} in {source} is not in a folder of its class: expected '
                f'CLASS/FILE, or train/CLASS/FILE and test/CLASS/FILE'
            )
        split = SPLIT_FOLDERS[path[0].lower()] if has_splits else 'undivided'
        grouped.setdefault(split, []).append((member, path[int(has_splits)]))
    if has_splits and (grouped.keys() != {'train', 'test'} or len(splits) > 2):
        raise ValueError(
            f'{source} has {", ".join(sorted(splits))}: train and one of test and val are needed'
        )
    class_names = sorted({name for parts in grouped.values() for _, name in parts})
    label_of = {name: label for label, name in enumerate(class_names)}
    return class_names, {
        split: sorted(
            ((member, label_of[name]) for member, name in grouped[split]),
            key=lambda labelled: labelled[1],
        )
        for split in sorted(grouped, reverse=True)
    }
