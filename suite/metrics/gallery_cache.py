"""A gallery's captions as a judge embeds them, kept on disk: 3,153 of them take seconds of each scored cell.

A file's name is all that its content hangs on, and its head the content's sha256; what is not just that is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from suite.models.checkpoints.official import cache_folder

DIGEST_BYTES = 32


def kept_captions(judge: str, gallery_sha256: str, count: int, embed: Callable[[], Tensor]) -> Tensor:
    """The captions' vectors [count, width], float32: read where they are kept, else made by `embed` and kept.

    judge: its name with its weights' hash. Where nothing can be kept (a full disk, no home), they are made each time.
    """
    key = hashlib.sha256("\0".join((judge, gallery_sha256, torch.__version__)).encode()).hexdigest()
    unkept = contextlib.suppress(OSError, RuntimeError)  # the latter: a user without a home
    with unkept:
        if (held := _read(_path(key), count)) is not None:
            return held
    made = embed()
    with unkept:
        _write(_path(key), made)
    return made


def _path(key: str) -> Path:
    return cache_folder() / "galleries" / f"{key}.f32"


def _read(path: Path, count: int) -> Tensor | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    digest, vectors = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if not vectors or len(vectors) % (4 * count) or hashlib.sha256(vectors).digest() != digest:
        return None
    return torch.from_numpy(np.frombuffer(vectors, dtype="<f4").reshape(count, -1).copy())


def _write(path: Path, made: Tensor) -> None:
    """Whole or not at all: workers of one cell write beside each other."""
    vectors = made.float().cpu().numpy().astype("<f4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = path.with_name(f".{path.name}.{os.getpid()}")
    passing.write_bytes(hashlib.sha256(vectors).digest() + vectors)
    os.replace(passing, path)
