"""Prepared data sets: ArrayRecord files with TFDS metadata, which TFDS can read, too.

A data set is written shard by shard to a temporary folder, which is renamed at the end. A data set
that can be found is therefore complete, and a killed preparation resumes with the next shard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import io
import json
import os
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tqdm import tqdm

from snnjax.data.metadata import (
    Info,
    PreparedDataError,
    inflate,
    is_column,
    read_info,
    shard_names,
)
from snnjax.data.sources.file_names import printable
from snnjax.errors import PathError, UserError
from snnjax.paths import expand, in_bucket, sync

VERSION = '1.0.0'
SHARD_BYTES = 128 * 2**20

Example = dict[str, Any]


class Examples(Protocol):
    """Examples that are made on access."""

    def __len__(self) -> int:
        """Returns the number of examples."""
        ...

    def __getitem__(self, number: int, /) -> Mapping[str, Any]:
        """Returns the example at an index, the same each time."""
        ...


class DatasetNotPreparedError(UserError, FileNotFoundError):
    """A data set that must first be prepared from its download."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The description of a data set before it is written.

    Attributes:
      name: the name of the data set and of its folder.
      features: the features of an example.
      splits: the examples by split; each is made on access, and is the same each time.
      source: a text that identifies the source; a preparation resumes only with the same source.
      example_bytes: an upper bound on the average size of a written example, in bytes.
      description: a sentence about the data set.
      homepage: the URL of the original data set.
      citation: the BibTeX entry of the original data set.
      metadata: the further metadata that readers need; must be serializable as JSON.
      notes: the sentences for the user who prepares the data set; they are not stored.
    """

    name: str
    features: tfds.features.FeaturesDict
    splits: Mapping[str, Examples]
    source: str
    example_bytes: int
    description: str
    homepage: str = ''
    citation: str = ''
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()

    def shards(self, split: str) -> list[range]:
        """Returns the indices of the examples in each file of a split."""
        total = len(self.splits[split])
        count = max(1, min(total, -(-total * self.example_bytes // SHARD_BYTES)))
        return [range(total * i // count, total * (i + 1) // count) for i in range(count)]

    def fingerprint(self) -> str:
        """Returns a hash of everything that determines the files."""
        parts = [
            self.source,
            json.dumps(dict(self.metadata), sort_keys=True),
            repr(sorted((name, _describe(feature)) for name, feature in self.features.items())),
            repr([(split, self.shards(split)) for split in sorted(self.splits)]),
        ]
        return hashlib.sha256('\n'.join(parts).encode()).hexdigest()


def _describe(feature: Any) -> str:
    return f'{feature} {feature.names if isinstance(feature, tfds.features.ClassLabel) else ""}'


def folder_of(data_dir: str | Path, name: str) -> Path:
    """Returns the folder of the files of a prepared data set.

    Raises:
      ValueError: if the path is not UTF-8, which ArrayRecord cannot open.
    """
    folder = expand(data_dir) / name / VERSION
    if printable(str(folder)) != str(folder):
        raise ValueError(f'the path {printable(str(folder))} must be UTF-8: rename its folders')
    return folder


def is_prepared(data_dir: str | Path, name: str) -> bool:
    """Returns true if a complete data set of this name is in ``data_dir``.

    A name that is not an identifier, such as a path, is never that of a data set.
    """
    return name.isidentifier() and (folder_of(data_dir, name) / 'dataset_info.json').exists()


def prepared_names(data_dir: str | Path) -> list[str]:
    """Returns the sorted names of the complete data sets in ``data_dir``."""
    folder = expand(data_dir)
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if is_prepared(folder, path.name))


def write(plan: Plan, data_dir: str | Path) -> Path:
    """Writes a data set, or resumes an interrupted writing of it.

    A complete data set is kept as it is. The files depend on the plan only, not on interruptions.

    Args:
      plan: the data set to write.
      data_dir: the folder of the prepared data sets.

    Returns:
      The folder of the data set.

    Raises:
      OSError: if the disk has too little free space, which is checked before anything is written;
        or if another process writes the same data set.
      ValueError: if a split has no examples, if a class name cannot be read back, or if the
        examples of the plan raise it.
    """
    folder = folder_of(data_dir, plan.name)
    if is_prepared(data_dir, plan.name):
        return folder
    if in_bucket(folder):
        raise PathError(
            f'--data_dir={data_dir}: ArrayRecord writes only to a file system; prepare into a '
            f'folder and copy it: gcloud storage cp -r DATA/{plan.name} {data_dir}/'
        )
    for split, examples in plan.splits.items():
        if not len(examples):
            raise ValueError(f'{plan.name} has no examples in its split {split!r}')
    _check_class_names(plan)
    incomplete = folder.with_name(f'{VERSION}.incomplete')
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_writer(folder.parent):
        _continue_or_start(incomplete, plan.fingerprint())
        jobs = [
            (split, numbers, incomplete / _shard_name(plan, split, i))
            for split in plan.splits
            for i, numbers in enumerate(plan.shards(split))
        ]
        missing = [job for job in jobs if not job[2].exists()]
        _check_space(folder.parent, sum(len(job[1]) for job in missing) * plan.example_bytes)
        total = sum(len(job[1]) for job in jobs)
        done = total - sum(len(job[1]) for job in missing)
        with tqdm(total=total, initial=done, desc=plan.name, unit='example', disable=None) as bar:
            for split, numbers, path in missing:
                _write_shard(path, plan, (plan.splits[split][i] for i in numbers), bar)
        _write_metadata(incomplete, plan)
        sync(incomplete)
        incomplete.rename(folder)
        sync(folder.parent)
    return folder


def _check_class_names(plan: Plan) -> None:
    """Refuses names that their file, with one stripped name per line, would not preserve."""
    for feature in plan.features.values():
        for name in feature.names if isinstance(feature, tfds.features.ClassLabel) else ():
            is_line = not any(unicodedata.category(c) in ('Cc', 'Zl', 'Zp') for c in name)
            if not name or name != name.strip() or not is_line:
                raise ValueError(
                    f'a class of {plan.name} is named {name!r}: rename it; class names must be '
                    f'without line breaks, control characters and surrounding blanks'
                )


_PLAN = 'plan.sha256'


def _shard_name(plan: Plan, split: str, number: int) -> str:
    return shard_names(plan.name, split, len(plan.shards(split)))[number]


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BlockingIOError(
            errno.EAGAIN, f'another process is writing {folder}: wait until it is done'
        ) from None
    finally:
        os.close(descriptor)


def _continue_or_start(incomplete: Path, fingerprint: str) -> None:
    """Keeps the shards of a plan with the same fingerprint, and removes those of another plan."""
    plan = incomplete / _PLAN
    if not (plan.exists() and plan.read_text() == fingerprint):
        shutil.rmtree(incomplete, ignore_errors=True)
        incomplete.mkdir()
        partial = incomplete / 'partial'
        partial.write_text(fingerprint)
        partial.rename(plan)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed * 1.05:
        raise OSError(
            errno.ENOSPC,
            f'{folder} has {free / 2**30:.1f} GiB free, but {needed * 1.05 / 2**30:.1f} GiB are '
            f'needed',
        )


def _write_shard(path: Path, plan: Plan, examples: Iterator[Mapping[str, Any]], bar: tqdm) -> None:
    partial = path.with_name('partial')
    serializer = ExampleSerializer(plan.features.get_serialized_info())
    # With one record per group, a record is read without its neighbors.
    writer = ArrayRecordWriter(str(partial), 'group_size:1')
    for example in examples:
        # Encoded images are stored unchanged; TFDS expects them as file objects.
        example = {
            key: io.BytesIO(value)
            if isinstance(plan.features[key], tfds.features.Image) and isinstance(value, bytes)
            else value
            for key, value in example.items()
        }
        message = serializer.get_tf_example(plan.features.encode_example(example))
        with _as_os_error(partial):
            # By default the order of the features in a message differs from process to process.
            writer.write(message.SerializeToString(deterministic=True))
        bar.update()
    with _as_os_error(partial):
        writer.close()
    sync(partial)
    partial.rename(path)


@contextlib.contextmanager
def _as_os_error(path: Path) -> Iterator[None]:
    """Converts the RuntimeError that ArrayRecord raises, for example for a full disk."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(errno.EIO, f'cannot write {path}: {error}') from error


def _write_metadata(folder: Path, plan: Plan) -> None:
    # Without a file of every split TFDS would count no examples, so the lengths are given here.
    template = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(numbers) for numbers in plan.shards(split)],
            num_bytes=sum(
                (folder / _shard_name(plan, split, i)).stat().st_size
                for i in range(len(plan.shards(split)))
            ),
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=folder,
                template=template,
                dataset_name=plan.name,
                split=split,
                filetype_suffix='array_record',
            ),
        )
        for split in plan.splits
    ]
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=plan.name,
        version=tfds.core.Version(VERSION),
        data_dir=str(folder),
        module_name='snnjax.data',
        release_notes={VERSION: 'First release.'},
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=plan.description,
        features=plan.features,
        homepage=plan.homepage,
        citation=plan.citation,
        disable_shuffling=True,
        metadata=tfds.core.MetadataDict(plan.metadata),
        split_dict=tfds.core.splits.SplitDict(splits),
    )
    info.set_file_format('array_record')
    info.write_to_directory(folder)
    for path in folder.iterdir():
        sync(path)


class Prepared:
    """A prepared data set.

    `snnjax.data.metadata` reads its metadata, since TFDS would import the modules named there.

    Attributes:
      folder: the folder of the files.
      features: the features of an example.
      metadata: the further metadata, as in `Plan`.
      sizes: the number of examples by split.

    Raises:
      DatasetNotPreparedError: if the data set is missing or incomplete.
      PreparedDataError: if the data set is damaged, or not as `write` makes it.
    """

    def __init__(self, data_dir: str | Path, name: str) -> None:
        if not is_prepared(data_dir, name):
            raise DatasetNotPreparedError(
                f'{name} is not prepared in {data_dir}; prepare it with\n  python -m '
                f'snnjax.tools.prepare {name} --source=FOLDER_WITH_THE_DOWNLOAD '
                f'--data_dir={data_dir}'
            )
        self.folder = folder_of(data_dir, name)
        info = read_info(self.folder)
        self.features = info.features
        self.metadata = info.metadata
        self.sizes = {split: sum(lengths) for split, lengths in info.shard_lengths.items()}
        for split in info.shard_lengths:
            for shard in info.shards(split):
                if not (self.folder / shard).is_file():
                    raise PreparedDataError(
                        f'{self.folder} has no {shard}: remove the folder and prepare {name} again'
                    )

    def records(self, split: str) -> Records:
        """Returns the examples of a split."""
        return Records(self.folder, split)


class Records:
    """The examples of a split, read on access; encoded images stay encoded.

    Records can be pickled for another process, which opens the files itself.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self._folder = folder
        self._split = split

    def __reduce__(self) -> tuple[Any, ...]:
        return Records, (self._folder, self._split)

    def __len__(self) -> int:
        return len(self._source)

    def read(self, numbers: Sequence[int]) -> list[Example]:
        """Returns the examples at ``numbers``, a sequence of indices."""
        if not len(numbers):
            return []
        features = self._info.features
        examples = []
        for record in self._source.__getitems__([int(number) for number in numbers]):
            example = features.deserialize_example_np(record, decoders=self._decoders)
            for name in self._columns:
                example[name] = inflate(example[name], features[name].np_dtype)
            examples.append(example)
        return examples

    @functools.cached_property
    def _info(self) -> Info:
        return read_info(self._folder)

    @functools.cached_property
    def _columns(self) -> list[str]:
        """Returns the names of the columns, which are decompressed here to limit their size."""
        return [name for name, feature in self._info.features.items() if is_column(feature)]

    @functools.cached_property
    def _decoders(self) -> dict[str, Any]:
        images = [
            name
            for name, feature in self._info.features.items()
            if isinstance(feature, tfds.features.Image)
        ]
        return {name: tfds.decode.SkipDecoding() for name in [*images, *self._columns]}

    @functools.cached_property
    def _source(self) -> ArrayRecordDataSource:
        shards = self._info.shards(self._split)
        return ArrayRecordDataSource(
            [_Shard(str(self._folder / name), 0, size, size) for name, size in shards.items()]
        )


class _Shard(NamedTuple):
    """A whole file for `ArrayRecordDataSource`, which may read a bare path as a pattern."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int
