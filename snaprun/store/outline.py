"""The content of a checkpoint, read without torch and before any tensor takes memory.

checkpoint.pt is a zip file as torch.save writes it, followed by the sha256 of the zip file (32
bytes). The zip file holds, uncompressed, a pickle `…/data.pkl` and the storages `…/data/<key>`. In
the pickle, a tensor is the name of a storage, an offset, a shape and strides. The pickle may hold
only what our checkpoints are made of: dicts with string keys, lists, numbers, strings, None and
dense tensors of the dtypes below. Nothing in the pickle can call anything.
"""

import hashlib
import io
import math
import pickletools
import struct
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from snaprun.files import Folder
from snaprun.store.log import Mark
from snaprun.store.schema import CHECKPOINT

DTYPES = {  # a storage's name in a pickle: torch's name of the dtype, bytes of an element
    "torch FloatStorage": ("float32", 4),
    "torch DoubleStorage": ("float64", 8),
    "torch LongStorage": ("int64", 8),
    "torch BoolStorage": ("bool", 1),
    "torch ByteStorage": ("uint8", 1),
}
MOST_OF_PICKLE = 2**20  # bytes; ours have some ten thousand
MOST_NESTED = 2**14  # values on the stack that are not yet in their dict or list
_SUM = hashlib.sha256().digest_size
_AROUND = 2**12  # bytes for the headers, name and padding of a member: far more than these take
# What zipfile and pickletools raise besides ValueError; NotImplementedError is a RuntimeError.
_BROKEN = (zipfile.BadZipFile, EOFError, LookupError, RuntimeError, OverflowError, struct.error)
_CALLS = ("torch._utils _rebuild_tensor_v2", "collections OrderedDict")


@dataclass(frozen=True)
class Stored:
    """The place of a tensor in the file, its dtype and shape; the tensor itself is not read yet."""

    key: str  # of the storage
    dtype: str
    itemsize: int
    offset: int  # elements of the storage before the first one
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements; no two indices share one

    @property
    def extent(self) -> int:
        """How many elements the storage has from the tensor's first to its last one."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * d for n, d in zip(self.shape, self.strides, strict=True))


class Outline:
    """The `tree` of an open checkpoint with a `Stored` for every tensor; reads bytes on demand.

    Raises ValueError, which says in one line what is wrong, and OSError.
    """

    def __init__(self, file: BinaryIO) -> None:
        part = _Part(file, file.seek(0, io.SEEK_END) - _SUM)
        try:
            self._zip = zipfile.ZipFile(part)
            self._members = _members(self._zip, part.size)
            order = self._zip.read(self._members["byteorder"])
            pickled = self._zip.read(self._members["data.pkl"])
            self.tree: Any = _tree(pickled)
        except _BROKEN as error:
            raise ValueError(f"it is no file of torch.save: {error}") from error
        if order.decode("ascii", "replace") != sys.byteorder:
            raise ValueError("it was written on a machine of another byte order")
        total = 0
        for stored in _tensors(self.tree):
            size = self._member(stored).file_size
            if (stored.offset + stored.extent) * stored.itemsize > size:
                raise ValueError(f"a tensor reaches beyond its storage of {size} bytes")
            total += stored.extent * stored.itemsize
        if total > part.size:
            raise ValueError("its tensors are larger than the file")

    def content(self, stored: Stored) -> bytearray:
        """Return the bytes of the storage from the first to the last element of a tensor."""
        content = bytearray(stored.extent * stored.itemsize)
        try:
            with self._zip.open(self._member(stored)) as opened:
                file: Any = opened  # its declared type lacks readinto
                file.seek(stored.offset * stored.itemsize)
                taken = file.readinto(content)
        except _BROKEN as error:
            raise ValueError(f"it is no file of torch.save: {error}") from error
        if taken != len(content):
            raise ValueError(f"storage {stored.key} ends early")
        return content

    def _member(self, stored: Stored) -> zipfile.ZipInfo:
        if (member := self._members.get(f"data/{stored.key}")) is None:
            raise ValueError(f"it has no storage {stored.key[:20]}")
        return member


@contextmanager
def opened(folder: Folder, name: str = CHECKPOINT) -> Iterator[Outline | None]:
    """Yield the checkpoint `name` in `folder`, its sha256 verified, or None if there is none.

    Raises ValueError if the checkpoint is damaged, and OSError.
    """
    if folder.stat(name) is None:
        yield None
        return
    with folder.file(name) as file:
        outline = Outline(file)  # first, because a huge sparse file would take long to hash
        whole = _Part(file, file.seek(0, io.SEEK_END) - _SUM)
        if hashlib.file_digest(whole, "sha256").digest() != file.read():
            raise ValueError("its sha256 differs: it is damaged, or of an older version")
        yield outline


def mark(tree: Any) -> Mark:
    """Return the mark of the metrics in a checkpoint's tree; raises ValueError if it has none."""
    said = tree.get("metrics") if isinstance(tree, dict) else None
    if not isinstance(said, dict) or said.keys() != {"size", "crc32"}:
        raise ValueError("metrics mismatch: expected a size and a crc32")
    return Mark(**said)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name below the archive's one folder; none is larger than the file."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.partition("/")[2]
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ValueError("it holds compressed or encrypted data")
        if member.file_size != member.compress_size or name in found:
            raise ValueError("its table of contents contradicts itself")
        found[name] = member
    total = sum(member.file_size for member in found.values())
    if total > size:
        raise ValueError("it promises more data than the file has")
    if total < size - _AROUND * (1 + len(found)):  # hashing what is no member's would take long
        raise ValueError("it is far longer than what it holds")
    if found["data.pkl"].file_size > MOST_OF_PICKLE or found["byteorder"].file_size > 16:
        raise ValueError("its description is larger than any of ours")
    return found


@dataclass(frozen=True)
class _Global:
    """The name of a Python object, which is never looked up."""

    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    itemsize: int


_NO_HOOKS = _Global("OrderedDict()")
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def _tree(pickled: bytes) -> Any:
    """Return the value of a pickle of protocol 2, with a `Stored` for each tensor."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def marked() -> list[Any]:
        start = marks.pop()
        taken = stack[start:]
        del stack[start:]
        return taken

    said: Any
    for operation, said, _ in pickletools.genops(pickled):
        match operation.name:
            case "PROTO":
                if said != 2:
                    raise ValueError(f"its pickle has the protocol {said}, not 2")
            case "MARK":
                marks.append(len(stack))
            case name if name in _EMPTY:
                stack.append(_EMPTY[name]())
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                stack.append(said)
            case "SETITEM" | "SETITEMS":
                items = marked() if operation.name == "SETITEMS" else _pop(stack, 2)
                target = _own(stack[-1], dict)
                for key, value in zip(items[::2], items[1::2], strict=True):
                    if type(key) is not str or key in target:
                        raise ValueError("a key is no word, or there twice")
                    target[key] = value
            case "APPEND" | "APPENDS":
                items = marked() if operation.name == "APPENDS" else _pop(stack, 1)
                _own(stack[-1], list).extend(items)
            case "TUPLE":
                stack.append(tuple(marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(_pop(stack, int(operation.name[-1]))))
            case "BINPUT" | "LONG_BINPUT":
                memo[said] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                # A container that is named twice could contain itself.
                if isinstance(memo[said], dict | list | tuple):
                    raise ValueError("a dict or list lies in two places")
                stack.append(memo[said])
            case "GLOBAL":
                if said not in DTYPES and said not in _CALLS:
                    raise ValueError(f"it holds {said[:80]}, which no checkpoint of ours does")
                stack.append(_Global(said))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                function, arguments = _pop(stack, 2)
                stack.append(_made(function, arguments))
            case "STOP":
                break
            case other:
                raise ValueError(f"its pickle has {other}, which none of ours has")
        if len(stack) > MOST_NESTED:
            raise ValueError("it is nested deeper than any of ours")
    (tree,) = stack
    return tree


def _pop(stack: list[Any], count: int) -> list[Any]:
    taken = stack[-count:]
    if len(taken) < count:
        raise ValueError("its pickle takes more than it has put")
    del stack[-count:]
    return taken


def _own(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError("its pickle adds to what is no dict or list")
    return value


def _storage(said: Any) -> _Storage:
    match said:
        case ("storage", _Global(name), str(key), str(location), int(count)) if name in DTYPES:
            if location.partition(":")[0] in ("cpu", "cuda") and count >= 0:
                return _Storage(key, *DTYPES[name])
    raise ValueError("a storage is of a kind or on a device that no checkpoint of ours has")


def _made(function: Any, arguments: Any) -> Any:
    """Return a tensor, or the empty dict of a tensor's hooks."""
    match function, arguments:
        case _Global("collections OrderedDict"), ():
            return _NO_HOOKS
        case (
            _Global("torch._utils _rebuild_tensor_v2"),
            (_Storage() as storage, int(offset), tuple(shape), tuple(strides), False, hooks),
        ) if hooks is _NO_HOOKS and _dense(offset, shape, strides):
            return Stored(storage.key, storage.dtype, storage.itemsize, offset, shape, strides)
    raise ValueError("a tensor is not dense, or wants a gradient")


def _dense(offset: int, shape: tuple[Any, ...], strides: tuple[Any, ...]) -> bool:
    """Return whether no two indices of a tensor share an element, for any order of its axes."""
    sound = all(type(n) is int and 0 <= n < 2**62 for n in (offset, *shape, *strides))
    if len(shape) != len(strides) or not sound:
        return False
    if math.prod(shape) == 0:
        return True
    end = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size > 1:
            if stride < end:
                return False
            end = stride * size
    return True


def _tensors(tree: Any) -> Iterator[Stored]:
    """Yield all tensors; raises ValueError for a value, such as a tuple, that is not ours."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            waiting.extend(value.values())
        elif type(value) is list:
            waiting.extend(value)
        elif isinstance(value, Stored):
            yield value
        elif value is not None and type(value) not in (bool, int, float, str):
            raise ValueError(f"it holds a {type(value).__name__}")


class _Part(io.RawIOBase):
    """The first `size` bytes of a file, as a file."""

    def __init__(self, file: Any, size: int) -> None:
        if size < 0:
            raise ValueError("its sha256 is missing: it is cut short")
        self._file, self.size, self._at = file, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._at)
        with memoryview(buffer) as view:
            taken = self._file.readinto(view[: max(self.size - self._at, 0)])
        self._at += taken
        return taken
