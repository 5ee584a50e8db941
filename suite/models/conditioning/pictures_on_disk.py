"""Conditioning pictures from a folder or a zip file: the reproducible way from a prompt to a picture.

A picture belongs to a prompt if its name is the prompt (case, spaces and punctuation aside), or by a list:
`captions.txt` among the pictures, or the archive's name with `.txt` beside it, a prompt a line, in the order of the
pictures' names, in which 2 comes before 10. The list serves archives whose pictures are numbered.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from suite.models.checkpoints.archives import LARGEST_ENTRY_BYTES, ArchiveError, check_growth, opened
from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError
from suite.models.checkpoints.foreign import why_foreign
from suite.models.conditioning.reading import lines_of
from suite.pictures import PictureError, read_picture

PICTURES_VARIABLE = "TEXT3D_PICTURES"
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
LIST = "captions.txt"


class PicturesOnDisk:
    """Called as a text-to-image pipeline is; the sample's number makes no difference, there is one picture a prompt."""

    network = None

    def __init__(self, path: Path):
        if not path.exists():
            raise WeightsAbsent(f"{path}: no such folder or zip file of conditioning pictures")
        self.path = path
        self._files = dict(sorted(self._read(), key=lambda file: _in_order(file[0])))
        pictures = [name for name in self._files if name.lower().endswith(ENDINGS)]
        if not pictures:
            raise WeightsError(f"{path}: holds no pictures ({', '.join(ENDINGS)})")
        if (captions := self._captions()) is None:
            captions = [PurePosixPath(name).stem for name in pictures]
        if len(captions) != len(pictures):
            raise WeightsError(f"{path}: {len(pictures)} pictures, but {len(captions)} lines of captions")
        self._by_prompt: dict[str, str] = {}
        for caption, name in zip(captions, pictures):
            if (other := self._by_prompt.setdefault(key_of(caption), name)) != name:
                raise WeightsError(f"{path}: {other} and {name} are both pictures of {caption!r}")
        digest = hashlib.sha256()
        for name, data in self._files.items():
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
        self.sha256 = digest.hexdigest()

    def __call__(self, model: str, prompts: list[str], sample: int) -> list[Image.Image]:
        absent = [prompt for prompt in prompts if key_of(prompt) not in self._by_prompt]
        if absent:
            raise WeightsAbsent(
                f"{self.path}: no picture of {absent[0]!r}; it has {len(self._by_prompt)} pictures, each known by its "
                f"name or its line in {LIST} (docs/weights.md)"
            )
        return [self._picture(self._by_prompt[key_of(prompt)]) for prompt in prompts]

    def _picture(self, name: str) -> Image.Image:
        try:
            return read_picture(io.BytesIO(self._files[name]))
        except PictureError as error:
            raise WeightsError(f"{self.path}: {name} is no readable picture ({error})") from None

    def _read(self) -> Iterator[tuple[str, bytes]]:
        if self.path.is_dir():
            for file in self.path.iterdir():
                if file.is_file() and _wanted(file.name):
                    yield file.name, _content(file)
            return
        if reason := why_foreign(self.path, "a zip file of pictures"):
            raise WeightsError(f"{self.path}: not a zip file: it {reason}")
        try:
            with opened(self.path) as archive:
                check_growth(archive, self.path.stat().st_size)
                for entry in archive.infolist():
                    if not entry.is_dir() and _wanted(entry.filename):
                        yield entry.filename, archive.read(entry)
        except ArchiveError as error:
            raise WeightsError(f"{self.path}: {error}") from None

    def _captions(self) -> list[str] | None:
        inside = [data for name, data in self._files.items() if PurePosixPath(name).name == LIST]
        beside = self.path.with_suffix(".txt")
        if not inside and not self.path.is_dir() and beside.exists():
            inside = [_content(beside)]
            self._files[LIST] = inside[0]
        if not inside:
            return None
        try:
            return [line for line in lines_of(inside[0]) if line.strip()]
        except UnicodeDecodeError as error:
            raise WeightsError(f"{self.path}: its captions are no text in UTF-8 ({error})") from None


def _content(file: Path) -> bytes:
    if (size := file.stat().st_size) > LARGEST_ENTRY_BYTES:
        raise WeightsError(f"{file}: refused: {size:,} bytes are no picture's")
    return file.read_bytes()


def _wanted(name: str) -> bool:
    last = PurePosixPath(name).name
    hidden = last.startswith(".") or name.startswith("__MACOSX")
    return not hidden and (last.lower().endswith(ENDINGS) or last == LIST)


def _in_order(name: str) -> list[tuple[str, int]]:
    """What names are sorted by: their words as such, their numbers by their value."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", name)]


def key_of(text: str) -> str:
    """What a picture is known by: the words, whatever stands between them."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
