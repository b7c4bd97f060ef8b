"""Checkpoints of PyTorch as arrays by name, whatever else is in the file.

Nothing in a file is executed. PyTorch reads it with ``weights_only=True``, and everything that the
file names, but tensors and plain containers, is read as a stand-in that does nothing.
"""

from __future__ import annotations

import builtins
import pickletools
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from snnjax.weights.torch_names import plain_names

if TYPE_CHECKING:
    import torch

ADVICE = 'save the weights alone with torch.save(model.state_dict(), FILE)'

# Parts of the names of weights that are an average over training, or of a second network beside the
# one that is trained.
_AVERAGES = ('ema', 'swa', 'average', 'averaged', 'shadow', 'teacher', 'momentum')
_MAX_DEPTH = 4


class StateDict(NamedTuple):
    """The weights in a checkpoint.

    Attributes:
      arrays: float32 arrays by name, without wrappers' parts of names and what is no weight, see
        `snnjax.weights.torch_names.plain_names`.
      key: place in the file, keys joined by dots; '' for the top.
      others: places of further weights in the file.
    """

    arrays: dict[str, np.ndarray]
    key: str
    others: list[str]


def read_state_dict(file: Path, key: str = '') -> StateDict:
    """Reads the weights of a file that ``torch.save`` has written.

    Weights are the mapping with names such as ``fc.weight``, at the top of the file or in mappings
    in it. What lies beside them is left out.

    Args:
      file: the checkpoint.
      key: place of the weights, needed only for a file that has several networks.

    Returns:
      The weights as float32 arrays.

    Raises:
      FileNotFoundError: if there is no such file.
      ImportError: without PyTorch.
      ValueError: for a file without weights, or with a tensor that is no array of real numbers.
    """
    import torch

    if not file.is_file():
        raise FileNotFoundError(f'no file {file}')
    try:
        stand_ins = [_stand_in(name) for name in sorted(_names_in(file))]
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            # Of kinds of tensors that PyTorch is about to give up; they are refused below.
            warnings.simplefilter('ignore')
            content = torch.load(file, map_location='cpu', weights_only=True)
    # An unpickler has errors of any kind for bytes that are no pickle.
    except Exception as error:
        raise ValueError(
            f'{file} is not a checkpoint of tensors alone: {_reason(error)}; {ADVICE}'
        ) from error
    place, found, others = _choose(file, content, key)
    for name in found:
        if not isinstance(name, str):
            raise ValueError(f'{file}: the key {name!r} beside weights is no name; {ADVICE}')
    tensors = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    try:
        names = plain_names(tensors)
    except ValueError as error:
        raise ValueError(f'{file}: {error}') from error
    arrays: dict[str, np.ndarray] = {}
    # Tensors may share what is stored, as tied weights do; all of them at most twice.
    left = 2 * file.stat().st_size + 2**20
    for name, plain in names.items():
        tensor = tensors[name]
        # A number by itself, as of an epoch, may be a tensor, too.
        if tensor.ndim or '.' in plain:
            arrays[plain] = _to_array(tensor, f'{file}: {name}')
            left -= tensor.numel() * tensor.element_size()
        if left < 0:
            raise ValueError(
                f'{file}: its tensors are larger than what is stored of them; {ADVICE}'
            )
    return StateDict(arrays, place, others)


class _StandIn(dict[Any, Any]):
    """Takes the place of an object that is of no interest, and keeps none of it."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        pass


def _stand_in(name: str) -> tuple[Any, str]:
    """Returns what is called by a name instead.

    Raises:
      ValueError: for a built-in function, such as ``eval``: data needs none.
    """
    module, _, attribute = name.rpartition('.')
    if name == 'collections.defaultdict':
        return _new_dict, name
    # Members of enumerations are written as what getattr gives.
    is_data = attribute == 'getattr' or isinstance(getattr(builtins, attribute, None), type)
    if module == 'builtins' and not is_data:
        raise ValueError(f'it names the function {name}')
    return type(attribute, (_StandIn,), {}), name


def _new_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _names_in(file: Path) -> set[str]:
    """Full names of the classes and functions that a checkpoint names.

    Raises:
      ValueError: for an archive that would become larger than the file.
    """
    with file.open('rb') as content:
        if not zipfile.is_zipfile(content):
            content.seek(0)
            return _names_in_pickles(content)
        with zipfile.ZipFile(content) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > file.stat().st_size:
                raise ValueError('it is a compressed archive, which torch.save does not write')
            pickles = [m for m in members if m.filename.rpartition('/')[2] == 'data.pkl']
            return {name for member in pickles for name in _names_in_pickles(archive.open(member))}


def _names_in_pickles(content: IO[bytes]) -> set[str]:
    names = set()
    try:
        # In the format before PyTorch 1.6 pickles follow each other, and then come numbers.
        while True:
            for opcode, argument, _ in pickletools.genops(content):
                if opcode.name == 'GLOBAL':
                    module, _, name = str(argument).partition(' ')
                    # Files name the modules of Python 2, which PyTorch translates.
                    module, name = NAME_MAPPING.get(
                        (module, name), (IMPORT_MAPPING.get(module, module), name)
                    )
                    names.add(f'{module}.{name}')
    except Exception:  # Whatever is wrong is found, and named, when the file is loaded.
        return names


def _reason(error: Exception) -> str:
    """Returns what went wrong, without PyTorch's advice to trust the file."""
    cause = error.__context__ if error.__context__ is not None else error
    text = ' '.join(str(cause).split()).partition('. ')[0]
    return text[:200].rstrip('.') or type(cause).__name__


def _choose(file: Path, content: Any, key: str) -> tuple[str, Mapping[Any, Any], list[str]]:
    """The weights' place, the weights, and where there are others."""
    found = dict(_find(content))
    if key:
        if key not in found:
            places = ', '.join(name or '(the top)' for name in found) or 'none'
            raise ValueError(f'{file} has no weights at {key!r}; it has {places}')
        return key, found[key], []
    if not found:
        raise ValueError(f'{file} holds no weights but {_describe(content)}; {ADVICE}')
    trained = [place for place in found if not _is_average(place)] or list(found)
    if len(trained) > 1:
        raise ValueError(
            f'{file} has the weights of several networks: choose with --key='
            f'{" or --key=".join(trained)}'
        )
    (place,) = trained
    return place, found[place], [other for other in found if other != place]


def _find(
    content: Any, place: tuple[str, ...] = (), seen: set[int] | None = None
) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Mappings with weights in them, each once, and where they are."""
    import torch

    seen = set() if seen is None else seen
    if not isinstance(content, Mapping) or id(content) in seen:
        return
    seen.add(id(content))
    if any(
        isinstance(name, str) and name.endswith('.weight') and isinstance(value, torch.Tensor)
        for name, value in content.items()
    ):
        yield '.'.join(place), content
    elif len(place) < _MAX_DEPTH:
        for name, value in content.items():
            if isinstance(name, str):
                yield from _find(value, (*place, name), seen)


def _is_average(place: str) -> bool:
    return any(part in _AVERAGES for part in place.replace('.', '_').lower().split('_'))


def _describe(content: Any) -> str:
    """Says what a file without weights holds, in a few words."""
    if isinstance(content, _StandIn):
        return f'a whole {type(content).__name__}'
    if isinstance(content, Mapping) and content:
        keys = ', '.join(repr(key)[:40] for key in list(content)[:5])
        return f'the keys {keys}{", …" if len(content) > 5 else ""}'
    return f'{"an empty" if content == {} else "a"} {type(content).__name__}'


def _to_array(tensor: torch.Tensor, what: str) -> np.ndarray:
    """Raises ValueError for what is no dense array of real numbers, all of it in the file."""
    import torch

    reason = None
    if tensor.device.type != 'cpu':
        reason = f'lies on the device {tensor.device}, without numbers'
    elif tensor.is_quantized:
        reason = 'is quantized: call dequantize() before saving'
    elif tensor.layout != torch.strided:
        reason = f'is sparse ({tensor.layout}): call to_dense() before saving'
    elif tensor.is_complex():
        reason = f'has complex numbers ({tensor.dtype})'
    elif not tensor.is_floating_point():
        reason = f'has the dtype {tensor.dtype}, expected a floating one'
    elif tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        reason = (
            f'has the shape {tuple(tensor.shape)} but fewer numbers: an expanded tensor; call '
            f'contiguous() before saving'
        )
    if reason:
        raise ValueError(f'{what} {reason}')
    array: np.ndarray = tensor.detach().to(torch.float32).numpy()
    if not np.isfinite(array).all():
        raise ValueError(f'{what} has numbers that are not finite in float32')
    return array
