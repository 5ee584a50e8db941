"""What a checkpoint's pickle says of its stored numbers, held against what its archive has. Without torch.

torch maps as many bytes as the pickle asks for, whatever lies there: a storage that claims more than its entry has
would go on into the next one.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

from suite.models.checkpoints.archives import ArchiveError

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


class _Anything(dict):
    """Stands for whatever a pickle names, and for what it makes of that. Nothing of the pickle's is ever called."""

    def __init__(self, name: str = ""):
        self.name = name

    def __call__(self, *arguments: object) -> _Anything:
        return _Anything()


class _Storages(pickle._Unpickler):  # the one in Python: the other allots its memo as the pickle says
    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data))
        self.claimed_bytes: dict[str, int] = {}  # by key

    def find_class(self, module: str, name: str) -> _Anything:
        return _Anything(name)

    def persistent_load(self, saved: tuple) -> _Anything:
        _, kind, key, _, count = saved
        claim = count * ITEM_BYTES[kind.name]
        if self.claimed_bytes.setdefault(key, claim) != claim:
            raise ArchiveError(f"its pickle says two sizes of storage {key!r}")
        return _Anything()


def check_claims(path: Path) -> None:
    """ArchiveError where the pickle claims another size of a storage than its entry has. Only for a pickle that torch
    has read: that one asks for nothing but tensors."""
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        reader = _Storages(archive.read(pickled))
    try:
        reader.load()
    except ArchiveError:
        raise
    except Exception as error:  # noqa: BLE001 - a pickle that is read in two ways is not read
        raise ArchiveError(f"its pickle is no list of tensors ({type(error).__name__})") from None
    for key, claim in reader.claimed_bytes.items():
        name = f"{pickled.removesuffix('data.pkl')}data/{key}"
        if sizes.get(name) != claim:
            raise ArchiveError(f"its pickle says that {name!r} has {claim:,} bytes, and it has {sizes.get(name, 0):,}")
