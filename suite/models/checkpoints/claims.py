"""What a checkpoint's pickle asks for, before torch reads it. Without torch, and nothing that a pickle names is called.

torch's own list of harmless classes is longer than tensors need: a `bytearray` of four gigabytes is on it. And torch
maps as many bytes as the pickle says: a storage that claims more than its entry has would go on into the next one.
"""

from __future__ import annotations

import mmap
import pickle
import zipfile
from pathlib import Path

from suite.models.checkpoints.archives import PICKLE, ArchiveError

ITEM_BYTES = {
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "UntypedStorage": 1,
    "BFloat16Storage": 2,
    "HalfStorage": 2,
    "ShortStorage": 2,
    "FloatStorage": 4,
    "IntStorage": 4,
    "DoubleStorage": 8,
    "LongStorage": 8,
}
STORAGES = {(module, name) for module in ("torch", "torch.cuda", "torch.storage") for name in ITEM_BYTES}
BUILDERS = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}
OLD_PICKLES = 4  # of a file from before torch 1.6: a number, a version, the system, and the tensors


class _Anything(dict):
    """Stands for whatever a pickle names, and for what it makes of that."""

    def __init__(self, name: str = ""):
        self.name = name

    def __call__(self, *arguments: object) -> _Anything:
        return _Anything()


class _Reader(pickle._Unpickler):
    """The one in Python: the other allots its memo as the pickle says."""

    # An array of bytes, too, would be allotted as the pickle says.
    dispatch = {code: read for code, read in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]}

    def __init__(self, file):
        super().__init__(file)
        self.claimed_bytes: dict[str, int] = {}  # by the storage's key

    def find_class(self, module: str, name: str) -> _Anything:
        if (module, name) not in STORAGES | BUILDERS:
            raise ArchiveError(f"it asks to run code ({module}.{name}), which weights never need")
        return _Anything(name)

    def persistent_load(self, saved: tuple) -> _Anything:
        _, kind, key, _, count, *_ = saved
        claim = count * ITEM_BYTES[kind.name]
        if self.claimed_bytes.setdefault(key, claim) != claim:
            raise ArchiveError(f"its pickle says two sizes of storage {key!r}")
        return _Anything()


def check_claims(path: Path, zipped: bool) -> None:
    """ArchiveError where a checkpoint asks for anything but tensors, or for more numbers than it has."""
    try:
        _check_zipped(path) if zipped else _check_old(path)
    except ArchiveError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a broken pickle makes of the reader, it is refused
        raise ArchiveError(
            f"its pickle is damaged or truncated, or no list of tensors ({type(error).__name__})"
        ) from None


def _check_zipped(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith(f"/{PICKLE}"))
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        with archive.open(pickled) as file:
            reader = _Reader(file)
            reader.load()
    for key, claim in reader.claimed_bytes.items():
        name = f"{pickled.removesuffix(PICKLE)}data/{key}"
        if sizes.get(name) != claim:
            raise ArchiveError(f"its pickle says that {name!r} has {claim:,} bytes, and it has {sizes.get(name, 0):,}")


def _check_old(path: Path) -> None:
    # Mapped: a plain file allots what it is asked to read, however little there is.
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        claim = 0
        for _ in range(OLD_PICKLES):
            reader = _Reader(mapped)
            reader.load()
            claim += sum(reader.claimed_bytes.values())
        if claim > len(mapped):
            raise ArchiveError(f"its tensors claim {claim:,} bytes, and the file has {len(mapped):,}")
