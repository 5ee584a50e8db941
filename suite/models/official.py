"""OpenAI's checkpoints: which files there are, which a model needs, and how they are found on this machine.

Nothing here downloads on its own: `python -m suite.weights fetch NAME` does. Without torch until a file is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from suite.models.download import (
    PINS,
    RemoteFile,
    Report,
    check_sha256,
    download,
    expected_sha256,
    locked,
    pin,
    read_pins,
)
from suite.models.shap_e_cache import CONVERSIONS, cached
from suite.models.weights import WeightsAbsent, sha256_of
from suite.names import unknown

if TYPE_CHECKING:
    from torch import Tensor

CACHE_VARIABLE = "TEXT3D_WEIGHTS"
GIVEN_VARIABLE = "TEXT3D_WEIGHTS_DIR"  # what --weights-dir sets, for the workers
CONVERTED = "converted"

POINT_E = "https://openaipublic.azureedge.net/main/point-e"
SHAP_E = "https://openaipublic.azureedge.net/main/shap-e"
HUB = "https://huggingface.co/timm"
UNHASHED = "openai/point-e, point_e/models/download.py, which gives no hashes"
HASHED = "openai/shap-e, shap_e/models/download.py, with its hash"
ON_HUB = "OpenAI's CLIP as open_clip names it, at a pinned revision; the hash is the repository's own (LFS)"


@dataclass(frozen=True, kw_only=True)
class OfficialFile(RemoteFile):
    network: str | None = None  # what OpenAI's code calls it

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0]


OFFICIAL = {
    file.stem: file
    for file in (
        OfficialFile(name="base_40m.pt", network="base40M", url=f"{POINT_E}/base_40m.pt", source=UNHASHED),
        OfficialFile(
            name="base_40m_textvec.pt", network="base40M-textvec", url=f"{POINT_E}/base_40m_textvec.pt", source=UNHASHED
        ),
        OfficialFile(
            name="base_40m_imagevec.pt",
            network="base40M-imagevec",
            url=f"{POINT_E}/base_40m_imagevec.pt",
            source=UNHASHED,
        ),
        OfficialFile(
            name="base_40m_uncond.pt", network="base40M-uncond", url=f"{POINT_E}/base_40m_uncond.pt", source=UNHASHED
        ),
        OfficialFile(name="base_300m.pt", network="base300M", url=f"{POINT_E}/base_300m.pt", source=UNHASHED),
        OfficialFile(name="base_1b.pt", network="base1B", url=f"{POINT_E}/base_1b.pt", source=UNHASHED),
        OfficialFile(name="upsample_40m.pt", network="upsample", url=f"{POINT_E}/upsample_40m.pt", source=UNHASHED),
        OfficialFile(name="sdf.pt", network="sdf", url=f"{POINT_E}/sdf.pt", source=UNHASHED),
        OfficialFile(
            name="text_cond.pt", network="text300M", url=f"{SHAP_E}/text_cond.pt", source=HASHED,
            sha256="e6b4fa599a7b3c3b16c222d5f5fe56f9db9289ff0b6575fbe5c11bc97106aad4",
        ),
        OfficialFile(
            name="image_cond.pt", network="image300M", url=f"{SHAP_E}/image_cond.pt", source=HASHED,
            sha256="cb8072c64bbbcf6910488814d212227de5db291780d4ea99c6152f9346cf12aa",
        ),
        OfficialFile(
            name="vector_decoder.pt", network="decoder", url=f"{SHAP_E}/vector_decoder.pt", source=HASHED,
            sha256="d7e7ebbfe3780499ae89b2da5e7c1354012dba5a6abfe295bed42f25c3be1b98",
        ),
        OfficialFile(
            name="transmitter.pt", network="transmitter", url=f"{SHAP_E}/transmitter.pt", source=HASHED,
            sha256="af02a0b85a8abdfb3919584b63c540ba175f6ad4790f574a7fef4617e5acdc3b",
        ),
        OfficialFile(
            name="clip-vit-b-32.safetensors", source=ON_HUB, bytes=605_143_284,
            url=f"{HUB}/vit_base_patch32_clip_224.openai/resolve/a6f597a30f7b82c51704746581f9a4e41421e878/open_clip_model.safetensors",
            sha256="e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
        ),
        OfficialFile(
            name="clip-vit-l-14.safetensors", source=ON_HUB, bytes=1_710_517_724,
            url=f"{HUB}/vit_large_patch14_clip_224.openai/resolve/18d0535469bb561bf468d76c1d73aa35156c922b/open_clip_model.safetensors",
            sha256="9ce2e8a8ebfff3793d7d375ad6d3c35cb9aebf3de7ace0fc7308accab7cd207e",
        ),
    )
}  # fmt: skip

MODEL_FILES = {
    "point-e-40m-text": ("clip-vit-l-14", "base_40m_textvec", "upsample_40m", "sdf"),
    "point-e-40m-imagevec": ("clip-vit-l-14", "base_40m_imagevec", "upsample_40m", "sdf"),
    "point-e-40m-image": ("clip-vit-l-14", "base_40m", "upsample_40m", "sdf"),
    "point-e-300m-image": ("clip-vit-l-14", "base_300m", "upsample_40m", "sdf"),
    "point-e-1b-image": ("clip-vit-l-14", "base_1b", "upsample_40m", "sdf"),
    "shap-e-300m-text": ("clip-vit-l-14", "text_cond", "vector_decoder"),
    "shap-e-300m-image": ("clip-vit-l-14", "image_cond", "vector_decoder"),
}
"""What a model's networks are loaded from; a text-to-image pipeline before them is apart."""


def find_official(name: str) -> OfficialFile:
    """By the file's stem, or by what OpenAI's code calls the network."""
    by_network = {file.network: file for file in OFFICIAL.values() if file.network}
    if name in OFFICIAL:
        return OFFICIAL[name]
    if name in by_network:
        return by_network[name]
    raise unknown("official checkpoint", name, {*OFFICIAL, *by_network})


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
    """The file and its hash, checked. A file without a known hash is pinned if `accept` does not refuse it."""
    path = locate(file, fetch)
    found, known = sha256_of(path), expected(file)
    if known is not None:
        check_sha256(path, known, found, where(file))
    else:
        accept(path)
        pin(file, found, cache_folder())
    return path, found


def where(file: RemoteFile) -> str:
    if file.sha256:
        return "published"
    given = given_folder()
    return f"pinned in {(given if given and file.name in read_pins(given) else cache_folder()) / PINS}"


def absent(model: str) -> str | None:
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
    """diffusers' conversion of a checkpoint, where it may be read: a folder of weights that was named is the only place."""
    return cached(name) if name in CONVERSIONS and given_folder() is None else None


def _is_here(name: str) -> bool:
    """Whether OpenAI's file, or what was converted from it, is on this machine."""
    file = find_official(name)
    try:
        return _whole_conversion(file) is not None or locate(file, name).is_file()
    except WeightsAbsent:
        return False


def _whole_conversion(file: OfficialFile) -> Path | None:
    """Where the file's tensors lie as safetensors, if they do; the file itself may be deleted then."""
    known = expected(file)
    if known is None or file.name.endswith(".safetensors"):
        return None
    target = converted_path(file, known)
    return target if target.exists() else None


def converted_path(file: OfficialFile, sha256: str) -> Path:
    return cache_folder() / CONVERTED / f"{file.stem}-{sha256[:16]}.safetensors"


def accept_checkpoint(path: Path) -> None:
    """Refuse what is no file of tensors, and hold no more than it."""
    from suite.models.convert import read_checkpoint, read_safetensors

    (read_safetensors if ".safetensors" in path.name else read_checkpoint)(path)


def fetch(file: OfficialFile, report: Report = lambda here, total: None) -> Path:
    """Download into the cache unless it is there."""
    return download(file, cache_folder(), report=report, accept=accept_checkpoint)


def load_official(name: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint by OpenAI's keys, mapped from a file, and the hash of the published file.

    WeightsAbsent says how to get it; WeightsError refuses what is truncated, altered or more than tensors.
    """
    from suite.models.convert import convert, read_converted, read_safetensors

    file = find_official(name)
    if file.name.endswith(".safetensors"):
        path, found = verified(file, file.stem, accept_checkpoint)
        return read_safetensors(path), found
    known = expected(file)
    if known is not None and not _changed(file, known):
        state = read_converted(converted_path(file, known), known)
        if state is not None:
            return state, known
    path, found = verified(file, file.stem, accept_checkpoint)
    target = converted_path(file, found)
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f"{target.name}.lock")):
        state = read_converted(target, found)  # another process may have been quicker
        return (convert(path, found, target) if state is None else state), found


def _changed(file: OfficialFile, known: str) -> bool:
    """Whether the source is another than was converted, by its size and time: then its hash is taken again."""
    from suite.models.convert import read_note

    note = read_note(converted_path(file, known))
    try:
        now = locate(file, file.stem).stat()
    except WeightsAbsent:
        return False
    return note is not None and (now.st_size, now.st_mtime_ns) != (
        note.get("source_bytes"),
        note.get("source_mtime_ns"),
    )
