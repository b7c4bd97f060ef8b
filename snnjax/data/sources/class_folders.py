"""Data sets with one folder of files per class, with or without folders for splits."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from snnjax.data.records import Plan
from snnjax.data.sources.archives import Contents, Member, count_endings
from snnjax.data.sources.file_names import without_suffix

_LAYOUT = 'expected CLASS/FILE, or train/CLASS/FILE and test/CLASS/FILE'
_SPLIT = re.compile(
    r'(?:(?P<train>train(?:ing)?)|(?P<val>val|valid|validate|validation|dev|devel|development|eval|'
    r'evaluation)|(?P<test>test(?:ing)?))s?'
    r'(?:(?:sub)?set|split|data|dataset|image|img|photo|picture|sample|recording|file|folder|dir)?'
    r's?\d*'
)


def split_kind(folder: str) -> str:
    """Returns the split that the name of a folder suggests: 'train', 'val', 'test', or '' for none.

    Case, separators, a plural, a word such as ``set``, and a final number are ignored, as in
    ``Training``, ``test_set``, ``Validation images`` and ``val2017``.
    """
    match = _SPLIT.fullmatch(re.sub(r'[\W_]+', '', folder.casefold()))
    return (match and match.lastgroup) or ''


@dataclasses.dataclass(frozen=True)
class ClassFolders:
    """Labeled files, sorted into splits.

    Attributes:
      class_names: the names of the classes, sorted as by torchvision.
      splits: the pairs (file, label) by split: 'train' and 'test', or 'undivided'. They are sorted
        by label, and in natural order within a class.
      notes: the sentences for the user on decisions and omitted files.
    """

    class_names: list[str]
    splits: dict[str, list[tuple[Member, int]]]
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class _File:
    """A file, and its path below the folder of its split."""

    member: Member
    path: tuple[str, ...]

    def below(self) -> _File:
        return dataclasses.replace(self, path=self.path[1:])

    def folder(self) -> str:
        """Returns the path of the folder of its class, as in the names of members."""
        parts = self.member.name.split('/')
        return '/'.join(parts[: len(parts) - len(self.path) + 1])


def group_by_class(contents: Contents, source: Path) -> ClassFolders:
    """Sorts files into splits and classes by their folders.

    Args:
      contents: the files, named ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``. All may be in the same
        outer folders, and a split may be in another folder of its name.
      source: the folder or archive of the files, which errors name.

    Raises:
      ValueError: if the layout is another one, or is ambiguous.
    """
    notes: list[str] = []
    files = [_File(member, tuple(member.name.split('/'))) for member in contents.members]
    outermost = ''
    while len({file.path[0] for file in files}) == 1 and _is_deep(files):
        outermost = files[0].path[0]
        files = [file.below() for file in files]
    if any(len(file.path) < 2 for file in files):
        _refuse_place(next(file for file in files if len(file.path) < 2), source)
    folders = sorted({file.path[0] for file in files})
    of_splits = [folder for folder in folders if split_kind(folder)]
    if of_splits == folders:
        splits = _divide(files, folders, source, notes)
    elif of_splits:
        others = [folder for folder in folders if not split_kind(folder)]
        raise ValueError(
            f'{source} has {_listed(of_splits)}, named like a split, next to {_listed(others)}: '
            f'move all classes into folders train and test, or rename the class with that name'
        )
    else:
        splits = {'undivided': files}
        if split_kind(outermost):
            notes.append(f'{outermost} is the only split: divide it with data.split')
        _refuse_mentions(folders, source)
        _refuse_single_files(files, source)
    for files in splits.values():
        _refuse_inner_splits(files, source)
        _refuse_archives_of_classes(files, source)
    if 'undivided' in splits:
        _refuse_repeated_folders(splits['undivided'], folders, source)
    _compare_names({split: {f.path[0] for f in files} for split, files in splits.items()}, notes)
    class_names = sorted({file.path[0] for files in splits.values() for file in files})
    label_of = {name: label for label, name in enumerate(class_names)}
    _note_left_out(contents, splits, notes)
    return ClassFolders(
        class_names,
        {
            split: sorted(
                ((file.member, label_of[file.path[0]]) for file in splits[split]),
                key=lambda labeled: labeled[1],
            )
            for split in sorted(splits, reverse=True)
        },
        notes,
    )


def _is_deep(files: Iterable[_File]) -> bool:
    """Returns true if all paths still have a class folder without their outermost folder."""
    return all(len(file.path) > 2 for file in files)


def _refuse_place(file: _File, source: Path) -> None:
    raise ValueError(f'{file.member.name} in {source} is not in a folder of its class: {_LAYOUT}')


def _divide(
    files: Sequence[_File], folders: Sequence[str], source: Path, notes: list[str]
) -> dict[str, list[_File]]:
    """Returns the files of 'train' and 'test', with paths that begin with the class."""
    by_kind: dict[str, list[str]] = {}
    for folder in folders:
        by_kind.setdefault(split_kind(folder), []).append(folder)
    for kind, same in by_kind.items():
        if len(same) > 1:
            raise ValueError(
                f'{source} has {_listed(same)}, all named like the {kind} split: keep one'
            )
    if 'train' not in by_kind or len(by_kind) == 1:
        raise ValueError(
            f'{source} has {_listed(folders)}: train and one of test and val are required'
        )
    splits = {
        kind: [file.below() for file in files if file.path[0] == folder]
        for kind, (folder,) in by_kind.items()
    }
    for kind in splits:
        for file in splits[kind]:
            if len(file.path) < 2:
                _refuse_place(file, source)
    if 'test' not in splits:
        splits['test'] = splits.pop('val')
        notes.append(f'{by_kind["val"][0]} is the test split')
    elif 'val' in splits:
        count = len(splits.pop('val'))
        notes.append(
            f'{by_kind["test"][0]} is the test split; '
            f'unused files of {by_kind["val"][0]}: {count:,}'
        )
    splits = _unwrap(splits)
    for kind, (folder,) in by_kind.items():
        classes = {file.path[0] for file in splits.get(kind, [])}
        if len(classes) == 1 and split_kind(name := classes.pop()) and not _is_deep(splits[kind]):
            raise ValueError(
                f'{source} has {folder}/{name}: a split without class folders, such as a test set '
                f'without labels; move it out of {source}'
            )
    return splits


def _unwrap(splits: dict[str, list[_File]]) -> dict[str, list[_File]]:
    """Removes folders between a split and its classes, as in train/train and train/images."""
    while True:
        wrapped = {}
        for split, files in splits.items():
            outer = {file.path[0] for file in files}
            kind = split_kind(min(outer))
            own = kind == split or (kind == 'val' and split == 'test')
            if len(outer) == 1 and _is_deep(files) and (own or not kind):
                wrapped[split] = own
        if len(wrapped) < len(splits):
            # A single folder that only some splits have is a class, unless it has the name of its
            # split.
            wrapped = {split: own for split, own in wrapped.items() if own}
        if not wrapped:
            return splits
        splits |= {split: [file.below() for file in splits[split]] for split in wrapped}


def _refuse_inner_splits(files: Iterable[_File], source: Path) -> None:
    """Refuses split folders below class folders, as in cat/train/1.jpg."""
    for file in files:
        # A folder with such a name is a class if it is the only folder above the file.
        folders = file.path[:-1] if len(file.path) > 2 else ()
        found = next((folder for folder in folders if split_kind(folder)), None)
        if found:
            raise ValueError(
                f'{file.member.name} in {source}: {found} is named like a split, but is not above '
                f'all classes; {_LAYOUT}'
            )


def _refuse_mentions(folders: Iterable[str], source: Path) -> None:
    """Refuses folders that may be splits with longer names, as flowers_train and flowers_test."""
    found: dict[str, str] = {}
    for folder in folders:
        words = re.findall(r'[^\W\d_]+', re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', folder))
        for word in words:
            found.setdefault(split_kind(word), folder)
    if 'train' in found and ('test' in found or 'val' in found):
        other = found.get('test') or found['val']
        raise ValueError(
            f'{source} has {found["train"]} and {other}, which may be splits or classes: name '
            f'splits train and test, and give classes other names'
        )


def _refuse_repeated_folders(files: Iterable[_File], folders: Sequence[str], source: Path) -> None:
    """Refuses folders that all contain the same folders, as fold1/cat and fold2/cat."""
    inside: dict[str, set[str]] = {folder: set() for folder in folders}
    for file in files:
        inside[file.path[0]].add(file.path[1] if len(file.path) > 2 else '')
    first, *others = inside.values()
    if others and len(first - {''}) > 1 and all(names == first for names in others):
        raise ValueError(
            f'{source} has {_listed(sorted(first - {""}))} in each of {_listed(folders)}, which '
            f'may be classes or not: {_LAYOUT}'
        )


def _refuse_archives_of_classes(files: Iterable[_File], source: Path) -> None:
    """Refuses an archive at the level of a class folder that has folders of several classes."""
    inside: dict[str, set[str]] = {}
    for file in files:
        for archive in file.member.archives:
            if without_suffix(archive) == file.folder():
                inside.setdefault(archive, set()).add('/'.join(file.path[1:-1][:1]))
    for archive, folders in inside.items():
        if len(folders) > 1:
            raise ValueError(
                f'{archive} in {source} is in the place of one class, but has the folders '
                f'{_listed(sorted(folders))} in it: give the archive alone, or unpack it'
            )


def _compare_names(classes: Mapping[str, set[str]], notes: list[str]) -> None:
    """Finds class names that differ only in case or in the Unicode form of their accents.

    Adds a note if they can be separate classes, and raises ValueError if they may be one class.
    """
    alike: dict[str, set[str]] = {}
    for name in set().union(*classes.values()):
        alike.setdefault(_normalized(name).casefold(), set()).add(name)
    for names in alike.values():
        if len(names) == 1:
            continue
        everywhere = all(names <= found for found in classes.values())
        if not everywhere or len({_normalized(name) for name in names}) < len(names):
            shown = [f'{name} ({name!a})' for name in sorted(names)]
            raise ValueError(
                f'the folders {" and ".join(shown)} may be one class or several: give a class the '
                f'same name in every split'
            )
        notes.append(f'{_listed(sorted(names))} differ only in case and are separate classes')


def _normalized(name: str) -> str:
    return unicodedata.normalize('NFC', name)


def _note_left_out(contents: Contents, splits: Mapping[str, list[_File]], notes: list[str]) -> None:
    used = {file.folder() for files in splits.values() for file in files}
    roots = {folder.rpartition('/')[0] for folder in used}
    empty = sorted(f for f in contents.folders - used if f.rpartition('/')[0] in roots)
    if empty:
        notes.append(f'folders without files of a supported type: {_listed(empty)}')
    if contents.others:
        notes.append(f'files skipped because of their suffix: {count_endings(contents.others)}')


def _refuse_single_files(files: Sequence[_File], source: Path) -> None:
    """Refuses classes with one file, which a division would use for testing only."""
    counts = Counter(file.path[0] for file in files)
    single = sorted(name for name, count in counts.items() if count == 1)
    if single and len(counts) > 1:
        raise ValueError(
            f'{source} has one file of {_listed(single)}: each class needs at least two, one for '
            f'training and one for testing; add files, or move the folder out of {source}'
        )


def note_classes(plan: Plan, notes: Sequence[str]) -> Plan:
    """Returns a plan with notes, to which it adds notes on empty classes.

    Args:
      plan: a plan with ``class_sizes`` by split, 'train' and 'test' or 'undivided', in its
        metadata.
      notes: the existing notes.
    """
    names = plan.features['label'].names
    notes = [*notes]
    for split, sizes in plan.metadata['class_sizes'].items():
        missing = [name for name, size in zip(names, sizes, strict=True) if not size]
        if missing:
            notes.append(f'no example in {split}: {_listed(missing)}')
    if len(names) == 1:
        notes.append(f'all examples belong to one class, {names[0]}')
    return dataclasses.replace(plan, notes=notes)


def _listed(names: Sequence[str]) -> str:
    """Returns the first few names as text."""
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
