"""Data sets whose files lie in a folder for each class, in folders of splits or without."""

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
    """Returns 'train', 'val' or 'test' for the usual names of a split's folder, or else ''.

    Case, separators, a plural, a word like ``set`` and a number at the end do not matter, as in
    ``Training``, ``test_set``, ``Validation images`` and ``val2017``.
    """
    match = _SPLIT.fullmatch(re.sub(r'[\W_]+', '', folder.casefold()))
    return (match and match.lastgroup) or ''


@dataclasses.dataclass(frozen=True)
class ClassFolders:
    """Labelled files.

    Attributes:
      class_names: sorted as torchvision does.
      splits: (file, label) by split: 'train' and 'test', or 'undivided'; in the order of the
        classes, and in natural order for each.
      notes: sentences on what was decided and left out.
    """

    class_names: list[str]
    splits: dict[str, list[tuple[Member, int]]]
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class _File:
    """A file, and the rest of its path below the folder of its split."""

    member: Member
    path: tuple[str, ...]

    def below(self) -> _File:
        return dataclasses.replace(self, path=self.path[1:])

    def folder(self) -> str:
        """The folder of its class, as the members' names have it."""
        parts = self.member.name.split('/')
        return '/'.join(parts[: len(parts) - len(self.path) + 1])


def group_by_class(contents: Contents, source: Path) -> ClassFolders:
    """Sorts files by the folders that they are in.

    Args:
      contents: files named ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``, all below the same folders, if
        any. Splits may lie in another folder of their name.
      source: the folder or archive that they are from, named in errors.

    Raises:
      ValueError: for another layout, or one that may be read in two ways.
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
            f'{source} has {_listed(of_splits)}, named as a split is, beside {_listed(others)}: '
            f'move all classes into folders train and test, or rename a class of that name'
        )
    else:
        splits = {'undivided': files}
        if split_kind(outermost):
            notes.append(f'{outermost} is the only split: data.split says how to divide it')
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
                key=lambda labelled: labelled[1],
            )
            for split in sorted(splits, reverse=True)
        },
        notes,
    )


def _is_deep(files: Iterable[_File]) -> bool:
    """Returns whether a folder is left for the class if the outermost one is taken away."""
    return all(len(file.path) > 2 for file in files)


def _refuse_place(file: _File, source: Path) -> None:
    raise ValueError(f'{file.member.name} in {source} is not in a folder of its class: {_LAYOUT}')


def _divide(
    files: Sequence[_File], folders: Sequence[str], source: Path, notes: list[str]
) -> dict[str, list[_File]]:
    """Returns the files of 'train' and 'test', their paths beginning with their class."""
    by_kind: dict[str, list[str]] = {}
    for folder in folders:
        by_kind.setdefault(split_kind(folder), []).append(folder)
    for kind, same in by_kind.items():
        if len(same) > 1:
            raise ValueError(
                f'{source} has {_listed(same)}, all named as the {kind} split is: leave one'
            )
    if 'train' not in by_kind or len(by_kind) == 1:
        raise ValueError(
            f'{source} has {_listed(folders)}: train and one of test and val are needed'
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
            f'{by_kind["test"][0]} is the test split; the {count:,} files of {by_kind["val"][0]} '
            f'are left out'
        )
    splits = _unwrap(splits)
    for kind, (folder,) in by_kind.items():
        classes = {file.path[0] for file in splits.get(kind, [])}
        if len(classes) == 1 and split_kind(name := classes.pop()) and not _is_deep(splits[kind]):
            raise ValueError(
                f'{source} has {folder}/{name}: files of a split without classes, as tests without '
                f'labels are; move them out of it'
            )
    return splits


def _unwrap(splits: dict[str, list[_File]]) -> dict[str, list[_File]]:
    """Takes away folders between a split and its classes, as in train/train and train/images."""
    while True:
        wrapped = {}
        for split, files in splits.items():
            outer = {file.path[0] for file in files}
            kind = split_kind(min(outer))
            own = kind == split or (kind == 'val' and split == 'test')
            if len(outer) == 1 and _is_deep(files) and (own or not kind):
                wrapped[split] = own
        if len(wrapped) < len(splits):
            # A folder that is alone in one split only is that of a class, by any other name.
            wrapped = {split: own for split, own in wrapped.items() if own}
        if not wrapped:
            return splits
        splits |= {split: [file.below() for file in splits[split]] for split in wrapped}


def _refuse_inner_splits(files: Iterable[_File], source: Path) -> None:
    """Refuses folders of splits below those of classes, as in cat/train/1.jpg."""
    for file in files:
        # A class of a split may be named so, where files are in it.
        folders = file.path[:-1] if len(file.path) > 2 else ()
        found = next((folder for folder in folders if split_kind(folder)), None)
        if found:
            raise ValueError(
                f'{file.member.name} in {source}: {found} is named as a split is, and is not above '
                f'all classes: {_LAYOUT}'
            )


def _refuse_mentions(folders: Iterable[str], source: Path) -> None:
    """Refuses what may be splits by other names, as flowers_train and flowers_test."""
    found: dict[str, str] = {}
    for folder in folders:
        words = re.findall(r'[^\W\d_]+', re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', folder))
        for word in words:
            found.setdefault(split_kind(word), folder)
    if 'train' in found and ('test' in found or 'val' in found):
        other = found.get('test') or found['val']
        raise ValueError(
            f'{source} has {found["train"]} and {other}, which may be splits or classes: name '
            f'splits train and test, and classes otherwise'
        )


def _refuse_repeated_folders(files: Iterable[_File], folders: Sequence[str], source: Path) -> None:
    """Refuses folders that all have the same folders in them, as fold1/cat and fold2/cat."""
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
    """Refuses an archive in the place of a class that has folders of several classes in it."""
    inside: dict[str, set[str]] = {}
    for file in files:
        for archive in file.member.archives:
            if without_suffix(archive) == file.folder():
                inside.setdefault(archive, set()).add('/'.join(file.path[1:-1][:1]))
    for archive, folders in inside.items():
        if len(folders) > 1:
            raise ValueError(
                f'{archive} in {source} lies where the files of one class are expected, and has '
                f'folders {_listed(sorted(folders))} in it: give the archive alone, or unpack it'
            )


def _compare_names(classes: Mapping[str, set[str]], notes: list[str]) -> None:
    """Finds names of classes that only differ in case, or in how their accents are written."""
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
        notes.append(f'{_listed(sorted(names))} differ in case only, and are classes of their own')


def _normalized(name: str) -> str:
    return unicodedata.normalize('NFC', name)


def _note_left_out(contents: Contents, splits: Mapping[str, list[_File]], notes: list[str]) -> None:
    used = {file.folder() for files in splits.values() for file in files}
    roots = {folder.rpartition('/')[0] for folder in used}
    empty = sorted(f for f in contents.folders - used if f.rpartition('/')[0] in roots)
    if empty:
        notes.append(f'folders without a file to read: {_listed(empty)}')
    if contents.others:
        notes.append(f'left out by their endings: {count_endings(contents.others)}')


def _refuse_single_files(files: Sequence[_File], source: Path) -> None:
    """Refuses a class of one file, which would be for tests as the last tenth of its class."""
    counts = Counter(file.path[0] for file in files)
    single = sorted(name for name, count in counts.items() if count == 1)
    if single and len(counts) > 1:
        raise ValueError(
            f'{source} has one file of {_listed(single)}: each class needs two, one to train on '
            f'and one to test with; add some, or move the folder away'
        )


def note_classes(plan: Plan, notes: Sequence[str]) -> Plan:
    """Returns a plan with notes, and what there is to say of the sizes of its classes.

    Args:
      plan: has ``class_sizes`` by split, 'train' and 'test' or 'undivided', in its metadata.
      notes: those that there are already.
    """
    names = plan.features['label'].names
    notes = [*notes]
    for split, sizes in plan.metadata['class_sizes'].items():
        missing = [name for name, size in zip(names, sizes, strict=True) if not size]
        if missing:
            notes.append(f'no example in {split}: {_listed(missing)}')
    if len(names) == 1:
        notes.append(f'all examples are of one class, {names[0]}')
    return dataclasses.replace(plan, notes=notes)


def _listed(names: Sequence[str]) -> str:
    """The first few names."""
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
