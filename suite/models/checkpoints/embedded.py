"""Weights files: found, checked by their hash, read without running any code from them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the errors and hashes here serve floors that do without torch
    from torch import Tensor

EMBEDDED = Path(__file__).parents[2] / "embedded" / "weights"
HASHES = EMBEDDED / "sha256.json"


class WeightsError(RuntimeError):
    """A weights file is not what it should be."""


class WeightsAbsent(WeightsError):
    """There is no such file here; says how to get it."""


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file) -> str:  # Python 3.10
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def load_embedded(name: str, folder: Path = EMBEDDED) -> tuple[dict[str, Tensor], str]:
    """The tensors of an embedded network and the file's hash. WeightsError when the file is not the committed one."""
    path = folder / f"{name}.safetensors"
    expected = _expected(folder / HASHES.name, name)
    if not path.exists():
        raise WeightsAbsent(
            f"{path}: absent; train it with `python -m suite.training.train {name}`, or check out the repository whole"
        )
    found = sha256_of(path)
    if found != expected:
        raise WeightsError(
            f"{path}: sha256 is {found}, expected {expected} ({HASHES.name}); the file is altered or truncated"
        )
    from safetensors.torch import load_file

    return load_file(path), found


def _expected(path: Path, name: str) -> str | None:
    """The hash that the committed list gives a network."""
    try:
        hashes = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: the list of hashes cannot be read ({error})") from None
    if not isinstance(hashes, dict):
        raise WeightsError(f"{path}: expected an object of hashes by name")
    return hashes.get(name)
