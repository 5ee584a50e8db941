"""OpenAI's checkpoints: how they are found on this machine, checked and read.

Nothing here downloads on its own: `python -m suite.weights fetch NAME` does. Without torch until a file is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from suite.models.checkpoints.download import Report, download
from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError, sha256_of
from suite.models.checkpoints.hub_cache import CONVERSIONS, cached
from suite.models.checkpoints.official_files import MODEL_FILES, OfficialFile, find_official
from suite.models.checkpoints.on_disk import locked
from suite.models.checkpoints.pins import PINS, RemoteFile, check_sha256, expected_sha256, how_to_unpin, pin, read_pins

if TYPE_CHECKING:
    from torch import Tensor

CACHE_VARIABLE = "TEXT3D_WEIGHTS"
GIVEN_VARIABLE = "TEXT3D_WEIGHTS_DIR"  # what --weights-dir sets, for the workers
CONVERTED = "converted"


def cache_folder() -> Path:
    """TEXT3D_WEIGHTS, else a folder in the user's cache."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "text3d-bench" / "weights"


def given_folder() -> Path | None:
    """The folder of --weights-dir: files are only read there, and nothing is ever downloaded."""
    chosen = os.environ.get(GIVEN_VARIABLE)
    return Path(chosen).expanduser() if chosen else None


def expected(file: RemoteFile) -> str | None:
    """Published, or pinned: by who filled the given folder, or here."""
    folders = [folder for folder in (given_folder(), cache_folder()) if folder is not None]
    return expected_sha256(file, *folders)


def locate(file: RemoteFile, fetch: str) -> Path:
    """Where the file is on this machine. WeightsAbsent says what to do; `fetch` names the file for the command."""
    given = given_folder()
    path = (given or cache_folder()) / file.name
    if path.is_file():
        return path
    if given is not None:
        raise WeightsAbsent(
            f"{given} lacks {file.name}; files are only read from there (--weights-dir): download it from {file.url}"
        )
    raise WeightsAbsent(f"{file.name} is not on this machine; get it with `python -m suite.weights fetch {fetch}`")


def verified(file: RemoteFile, fetch: str, accept: Callable[[Path], object] = lambda path: None) -> tuple[Path, str]:
    """The file and its hash, checked. A file without a known hash is pinned. What `accept` refuses is neither, even if
    an earlier release pinned it."""
    path = locate(file, fetch)
    found, known = sha256_of(path), expected(file)
    if known is not None:
        check_sha256(path, known, found, where(file), remedy(file))
    accept(path)
    if known is None:
        pin(file, found, cache_folder())
    return path, found


def where(file: RemoteFile) -> str:
    return "published" if file.sha256 else f"pinned in {_pinned_in(file) / PINS}"


def remedy(file: RemoteFile) -> str:
    """What to do about a hash that was pinned to a wrong file."""
    return how_to_unpin(file, _pinned_in(file), own=_pinned_in(file) == cache_folder())


def _pinned_in(file: RemoteFile) -> Path:
    given = given_folder()
    return given if given and file.name in read_pins(given) else cache_folder()


def why_absent(model: str) -> str | None:
    """Why a model cannot be loaded with official weights here, before anything is tried; None if its files are here.

    Asks for the same places as loading does: OpenAI's file, what was converted from it, or diffusers' conversion in
    the Hugging Face cache.
    """
    if model not in MODEL_FILES:
        return f"{model} has no official weights"
    lacking = [name for name in MODEL_FILES[model] if not _is_here(name)]
    missing = [name for name in lacking if in_hub_cache(name) is None]
    if not missing:
        return None
    files = ", ".join(find_official(name).name for name in missing)
    if (given := given_folder()) is not None:
        return f"{given} lacks {files}; files are only read from there (--weights-dir)"
    # By the model's name OpenAI's files would be fetched beside the conversions.
    wanted = model if missing == lacking else " ".join(missing)
    return f"{files} not on this machine; get what is missing with `python -m suite.weights fetch {wanted}`"


def in_hub_cache(name: str) -> Path | None:
    """diffusers' conversion of a checkpoint, where it may be read: a named folder of weights is the only place."""
    return cached(name) if name in CONVERSIONS and given_folder() is None else None


def _is_here(name: str) -> bool:
    """Whether OpenAI's file, or what was converted from it, is on this machine."""
    file = find_official(name)
    try:
        return whole_conversion(file) is not None or locate(file, name).is_file()
    except WeightsAbsent:
        return False


def whole_conversion(file: RemoteFile) -> Path | None:
    """Where the file's tensors lie as safetensors, if they do; the file itself may be deleted then."""
    known = expected(file)
    if known is None or not file.name.endswith(".pt"):
        return None
    return next((path for path in conversions(file, known) if path.exists()), None)


def conversions(file: RemoteFile, sha256: str) -> list[Path]:
    """Where what was converted from a file may lie: in the given folder, if it came along, and in the cache, the last,
    which alone is written to."""
    name = f"{file.name.rpartition('.')[0]}-{sha256[:16]}.safetensors"
    return [folder / CONVERTED / name for folder in (given_folder(), cache_folder()) if folder is not None]


def accept_checkpoint(file: OfficialFile, path: Path) -> None:
    """Refuse what is no file of tensors, or of another network's, and hold no more than it."""
    from suite.models.checkpoints.convert import read_checkpoint, read_safetensors

    state = (read_safetensors if ".safetensors" in path.name else read_checkpoint)(path)
    _check_layout(file, state, path)


def _check_layout(file: OfficialFile, state: dict[str, Tensor], path: Path) -> None:
    """A published hash says more than names and shapes; without one they tell another network's file."""
    from suite.models.checkpoints.layout import misfit

    if file.sha256 is None and (wrong := misfit(file, state)):
        pinned = f"; its hash is pinned: {remedy(file)}" if expected(file) else ""
        raise WeightsError(f"{path}: refused: not the network {file.network or file.stem}: {wrong}{pinned}")


def fetch(file: OfficialFile, report: Report = lambda here, total: None) -> Path:
    """Download into the cache unless it is there."""
    return download(file, cache_folder(), report=report, accept=partial(accept_checkpoint, file))


def load_official(name: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint by OpenAI's keys, mapped from a file, and the hash of the published file.

    WeightsAbsent says how to get it; WeightsError refuses what is truncated, altered or more than tensors.
    """
    file = find_official(name)
    try:
        return _load(file)
    except OSError as error:
        raise WeightsError(
            f"{file.name}: {error}; what is converted, and hashes, are written to {cache_folder()} ({CACHE_VARIABLE})"
        ) from None


def _load(file: OfficialFile) -> tuple[dict[str, Tensor], str]:
    from suite.models.checkpoints.convert import convert, read_safetensors

    accept = partial(accept_checkpoint, file)
    if file.name.endswith(".safetensors"):
        path, found = verified(file, file.stem, accept)
        return read_safetensors(path), found
    known = expected(file)
    if known is not None and not _changed(file, known):
        if (state := _read_conversion(file, known)) is not None:
            return state, known
    try:
        path, found = verified(file, file.stem, accept)
    except WeightsAbsent:
        if known is None or (brought := _read_brought(file, known)) is None:
            raise
        return brought
    target = conversions(file, found)[-1]
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f"{target.name}.lock")):
        state = _read_conversion(file, found)  # another process may have been quicker
        return (convert(path, found, target) if state is None else state), found


def _read_conversion(file: OfficialFile, sha256: str) -> dict[str, Tensor] | None:
    """What this machine converted: it saw the checkpoint, so that the checkpoint's hash is the tensors'."""
    path = conversions(file, sha256)[-1]
    return state[0] if (state := _read_fitting(file, sha256, path)) else None


def _read_brought(file: OfficialFile, sha256: str) -> tuple[dict[str, Tensor], str] | None:
    """What a given folder has in the checkpoint's place, and its own hash: whoever wrote it could have written any hash
    of a source beside it."""
    states = (_read_fitting(file, sha256, path) for path in conversions(file, sha256)[:-1])
    return next((state for state in states if state is not None), None)


def _read_fitting(file: OfficialFile, sha256: str, path: Path) -> tuple[dict[str, Tensor], str] | None:
    from suite.models.checkpoints.convert import read_converted

    if (found := read_converted(path, sha256)) is not None:
        _check_layout(file, found[0], path)
    return found


def load_conversion(
    name: str, path: Path, check: Callable[[dict[str, Tensor]], object] = lambda state: None
) -> tuple[dict[str, Tensor], str]:
    """The tensors and the hash of diffusers' conversion of a checkpoint. Nobody publishes that hash, so the one of the
    file which is first used here is pinned, if `check` does not refuse its tensors."""
    from suite.models.checkpoints.convert import read_safetensors

    file = hub_file(name)
    found, known = sha256_of(path), expected(file)
    if known is not None:
        check_sha256(path, known, found, f"{where(file)}, as it was first used", remedy(file))
    state = read_safetensors(path)
    check(state)
    if known is None:
        pin(file, found, cache_folder())
    return state, found


def hub_file(name: str) -> RemoteFile:
    """diffusers' conversion of a checkpoint, as its hash is pinned."""
    repository, folder = CONVERSIONS[name]
    return RemoteFile(name=f"{repository}/{folder}", url=f"https://huggingface.co/{repository}", source="diffusers")


def _changed(file: OfficialFile, known: str) -> bool:
    """Whether the source is another than was converted, by its size and time: then its hash is taken again."""
    from suite.models.checkpoints.convert import read_note

    note = read_note(conversions(file, known)[-1])
    try:
        now = locate(file, file.stem).stat()
    except WeightsAbsent:
        return False
    return note is not None and (now.st_size, now.st_mtime_ns) != (
        note.get("source_bytes"),
        note.get("source_mtime_ns"),
    )
