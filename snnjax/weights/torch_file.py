"""PyTorch checkpoints as named arrays.

Nothing in a file is executed. PyTorch reads it with ``weights_only=True``. Everything that the file
refers to, except tensors and plain containers, is replaced by an inert placeholder.
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

# Words in the names of weights that are an average over training, or that belong to a second
# network next to the trained one.
_AVERAGES = ('ema', 'swa', 'average', 'averaged', 'shadow', 'teacher', 'momentum')
_MAX_DEPTH = 4


class StateDict(NamedTuple):
    """The weights in a checkpoint.

    Attributes:
      arrays: the float32 arrays, by the names that `snnjax.weights.torch_names.plain_names` gives.
      key: the location in the file, keys joined by dots; '' for the top level.
      others: the locations of other weights in the file.
    """

    arrays: dict[str, np.ndarray]
    key: str
    others: list[str]


def read_state_dict(file: Path, key: str = '') -> StateDict:
    """Reads the weights of a file that ``torch.save`` has written.

    Weights are a mapping with names such as ``fc.weight``, at the top level of the file or in a
    nested mapping. Everything else is ignored.

    Args:
      file: the path of the checkpoint.
      key: the location of the weights, needed only if the file has several networks.

    Returns:
      The weights as float32 arrays.

    Raises:
      FileNotFoundError: if there is no such file.
      ImportError: if PyTorch is not installed.
      ValueError: if the file has no weights, or a tensor that is not an array of real numbers.
    """
    import torch

    if not file.is_file():
        raise FileNotFoundError(f'no file {file}')
    try:
        stand_ins = [_stand_in(name) for name in sorted(_names_in(file))]
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            # Deprecated kinds of tensors cause warnings here, and are refused below.
            warnings.simplefilter('ignore')
            content = torch.load(file, map_location='cpu', weights_only=True)
    # An unpickler raises errors of any type for bytes that are not a pickle.
    except Exception as error:
        raise ValueError(
            f'{file} is not a checkpoint of tensors alone: {_reason(error)}; {ADVICE}'
        ) from error
    place, found, others = _choose(file, content, key)
    for name in found:
        if not isinstance(name, str):
            raise ValueError(f'{file}: the key {name!r} next to weights is not a name; {ADVICE}')
    tensors = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    try:
        names = plain_names(tensors)
    except ValueError as error:
        raise ValueError(f'{file}: {error}') from error
    arrays: dict[str, np.ndarray] = {}
    # Tensors may share storage, as tied weights do; the total may be twice the file's size.
    left = 2 * file.stat().st_size + 2**20
    for name, plain in names.items():
        tensor = tensors[name]
        # A scalar such as the epoch may be a tensor, too, and is ignored.
        if tensor.ndim or '.' in plain:
            arrays[plain] = _to_array(tensor, f'{file}: {name}')
            left -= tensor.numel() * tensor.element_size()
        if left < 0:
            raise ValueError(f'{file}: its tensors are larger than their stored data; {ADVICE}')
    return StateDict(arrays, place, others)


class _StandIn(dict[Any, Any]):
    """Replaces an object that is not needed, and keeps none of its data."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        pass


def _stand_in(name: str) -> tuple[Any, str]:
    """Returns the placeholder for a name, with the name.

    Raises:
      ValueError: if the name is a built-in function such as ``eval``, which data does not need.
    """
    module, _, attribute = name.rpartition('.')
    if name == 'collections.defaultdict':
        return _new_dict, name
    # Members of enumerations are pickled as calls of getattr.
    is_data = attribute == 'getattr' or isinstance(getattr(builtins, attribute, None), type)
    if module == 'builtins' and not is_data:
        raise ValueError(f'it names the function {name}')
    return type(attribute, (_StandIn,), {}), name


def _new_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _names_in(file: Path) -> set[str]:
    """Returns the full names of the classes and functions that a checkpoint refers to.

    Raises:
      ValueError: if the file is an archive that would expand beyond its size.
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
        # Before PyTorch 1.6 a file had several pickles in a row, followed by raw numbers.
        while True:
            for opcode, argument, _ in pickletools.genops(content):
                if opcode.name == 'GLOBAL':
                    module, _, name = str(argument).partition(' ')
                    # Files name the modules of Python 2, which PyTorch translates.
                    module, name = NAME_MAPPING.get(
                        (module, name), (IMPORT_MAPPING.get(module, module), name)
                    )
                    names.add(f'{module}.{name}')
    except Exception:  # Loading the file finds the same damage and reports it.
        return names


def _reason(error: Exception) -> str:
    """Returns the reason of an error, without PyTorch's advice to trust the file."""
    cause = error.__context__ if error.__context__ is not None else error
    text = ' '.join(str(cause).split()).partition('. ')[0]
    return text[:200].rstrip('.') or type(cause).__name__


def _choose(file: Path, content: Any, key: str) -> tuple[str, Mapping[Any, Any], list[str]]:
    """Returns the location of the weights, the weights, and the locations of others."""
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
    """Yields each mapping with weights once, with its location."""
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
    """Describes the content of a file without weights in a few words."""
    if isinstance(content, _StandIn):
        return f'a whole {type(content).__name__}'
    if isinstance(content, Mapping) and content:
        keys = ', '.join(repr(key)[:40] for key in list(content)[:5])
        return f'the keys {keys}{", …" if len(content) > 5 else ""}'
    return f'{"an empty" if content == {} else "a"} {type(content).__name__}'


def _to_array(tensor: torch.Tensor, what: str) -> np.ndarray:
    """Converts a tensor to float32; raises ValueError if it is not dense, real and complete."""
    import torch

    reason = None
    if tensor.device.type != 'cpu':
        reason = f'is on the device {tensor.device}, without data'
    elif tensor.is_quantized:
        reason = 'is quantized: call dequantize() before saving'
    elif tensor.layout != torch.strided:
        reason = f'is sparse ({tensor.layout}): call to_dense() before saving'
    elif tensor.is_complex():
        reason = f'has complex numbers ({tensor.dtype})'
    elif not tensor.is_floating_point():
        reason = f'has the dtype {tensor.dtype}, expected a floating-point type'
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
