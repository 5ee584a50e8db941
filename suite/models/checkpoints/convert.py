"""Checkpoints of tensors: read without running code from them, and converted once to safetensors, which map lazily."""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from suite.models.checkpoints.archives import ArchiveError, check_checkpoint, is_zip
from suite.models.checkpoints.claims import check_claims
from suite.models.checkpoints.embedded import WeightsError, sha256_of
from suite.models.checkpoints.foreign import why_foreign
from suite.models.checkpoints.on_disk import write_whole

PLAIN = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.bool}
PLAIN |= {torch.int8, torch.int16, torch.int32, torch.int64}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict of a `torch.save` file, mapped from it. WeightsError when it holds anything but tensors by name.

    Only what tensors are made of is unpickled, and of that only what torch's own list has (`weights_only`): a file that
    asks for more is refused before anything of it runs. torch's words are kept back: they advise to switch that off.
    """
    if reason := why_foreign(path):
        raise WeightsError(f"{path}: refused: {reason}")
    try:
        if zipped := is_zip(path):
            check_checkpoint(path)
        check_claims(path, zipped)
        # Files from before torch 1.6 are no zip archives and cannot be mapped.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except ArchiveError as error:
        raise WeightsError(f"{path}: refused: {error}") from None
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: refused: {_pickled(str(error))}") from None
    except Exception as error:  # noqa: BLE001 - whatever a broken file makes of the reader, it is refused
        raise WeightsError(f"{path}: refused: {_unreadable(error)}") from None
    if not isinstance(state, dict) or not state:
        raise WeightsError(f"{path}: refused: holds {type(state).__name__} where tensors by name are expected")
    for name, value in state.items():
        _check(path, name, value)
    # One stretch of the file under many names would be written out as many times.
    if sum(value.numel() * value.element_size() for value in state.values()) > path.stat().st_size:
        raise WeightsError(f"{path}: refused: its tensors claim more numbers together than the file holds")
    return {name: value.detach().resolve_neg() for name, value in state.items()}


def _pickled(error: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", error)
    if found:
        return f"it asks to run code ({found[1]}), which weights never need"
    return "its pickle is broken, or asks for what weights never need"


def _unreadable(error: Exception) -> str:
    return f"not a readable checkpoint: damaged or truncated, or no file of torch's ({type(error).__name__})"


def _check(path: Path, name: object, value: object) -> None:
    if not isinstance(name, str) or not isinstance(value, Tensor):
        raise WeightsError(f"{path}: refused: {name!r} is {type(value).__name__}, not a tensor by name")
    if name == "__metadata__" or not name.isprintable():  # the first means something else in safetensors
        raise WeightsError(f"{path}: refused: {name!r} is no name of a tensor")
    if value.layout != torch.strided or value.is_nested or not value.is_cpu or value.dtype not in PLAIN:
        raise WeightsError(f"{path}: refused: {name!r} is no plain tensor of numbers")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise WeightsError(f"{path}: refused: {name!r} claims more numbers than the file holds")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors, mapped: a page is read when it is first used."""
    if reason := why_foreign(path) or ("is a zip file, as torch.save writes them" if is_zip(path) else None):
        raise WeightsError(f"{path}: refused: not a readable safetensors file: {reason}")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: refused: not a readable safetensors file ({error})") from None


def convert(source: Path, source_sha256: str, target: Path) -> dict[str, Tensor]:
    """Write a checkpoint's tensors as safetensors, with a note beside it that says from what, and read them."""
    state = read_checkpoint(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    passing = target.with_name(f".{target.name}.{os.getpid()}")
    before = source.stat()
    try:
        save_file(_apart(state), passing, metadata={"source": source.name, "source_sha256": source_sha256})
        note = {
            "source_sha256": source_sha256,
            "source_bytes": before.st_size,
            "source_mtime_ns": before.st_mtime_ns,
            "sha256": sha256_of(passing),
        }
        note_path(target).unlink(missing_ok=True)  # never a note beside another file than it is about
        os.replace(passing, target)
        write_whole(note_path(target), json.dumps(note, indent=1).encode() + b"\n")
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{target}: cannot be written ({error})") from None
    finally:
        passing.unlink(missing_ok=True)
    return read_safetensors(target)


def _apart(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors, none in another's memory, as safetensors wants them; copies only where they must be."""
    seen: set[int] = set()
    made = {}
    for name, value in state.items():
        whole = value.is_contiguous() and value.untyped_storage().data_ptr() not in seen
        seen.add(value.untyped_storage().data_ptr())
        made[name] = value if whole else value.clone(memory_format=torch.contiguous_format)
    return made


def read_converted(target: Path, source_sha256: str) -> tuple[dict[str, Tensor], str] | None:
    """What was converted from this source, and its own hash; None if nothing was. WeightsError when it was altered
    since."""
    note = read_note(target)
    if note is None or note.get("source_sha256") != source_sha256:
        return None
    found = sha256_of(target)
    if found != note.get("sha256"):
        raise WeightsError(
            f"{target}: sha256 is {found}, expected {note.get('sha256')} ({note_path(target).name}); "
            "the converted file is altered or truncated: delete it to convert it again"
        )
    return read_safetensors(target), found


def note_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def read_note(target: Path) -> dict | None:
    if not target.exists():
        return None
    try:
        note = json.loads(note_path(target).read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None
