"""Pictures of others are PNG, JPEG or WEBP, whatever they are called, and no larger than anyone looks at."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import EpsImagePlugin, Image

from dashboard import tables
from suite.models.checkpoints.embedded import WeightsError
from suite.models.conditioning.pictures_on_disk import PicturesOnDisk
from suite.pictures import FORMATS, LARGEST_PIXELS, PictureError, is_picture, read_picture

ROOT = Path(__file__).parents[1]
OTHERS = ["GIF", "BMP", "TIFF", "EPS", "PPM", "ICO", "TGA"]


def encoded(kind: str, size: tuple[int, int] = (8, 8)) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, (255, 0, 0)).save(made, kind)
    return made.getvalue()


def claimed(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header says that it is large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.fixture
def ghostscript(monkeypatch) -> list:
    """The times that Pillow would have started it."""
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: started.append(a))
    return started


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("ending", ["png", "webp"])
def test_the_three_formats_are_read_whatever_they_are_called(tmp_path, kind, ending):
    path = tmp_path / f"a dog.{ending}"
    path.write_bytes(encoded(kind))
    assert is_picture(path) and read_picture(path).mode == "RGB" and read_picture(path).size == (8, 8)
    red, green, blue = PicturesOnDisk(tmp_path)("m", ["a dog"], 0)[0].getpixel((4, 4))
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("packed", [False, True])
def test_other_formats_are_refused_in_words_and_start_nothing(tmp_path, ghostscript, kind, packed):
    path = tmp_path / "p"
    path.mkdir()
    (path / "a dog.png").write_bytes(encoded(kind))
    if packed:
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            archive.write(path / "a dog.png", "a dog.png")
    pictures = PicturesOnDisk(tmp_path / "p.zip" if packed else path)
    with pytest.raises(WeightsError, match="a dog.png is no readable picture .no PNG, JPEG or WEBP: it begins with"):
        pictures("m", ["a dog"], 0)
    assert not is_picture(path / "a dog.png") and ghostscript == []


def test_pillow_alone_would_have_started_ghostscript(tmp_path, ghostscript):
    with pytest.raises(Exception):  # noqa: B017 - whatever becomes of what Ghostscript did not give
        Image.open(io.BytesIO(encoded("EPS"))).convert("RGB").getpixel((0, 0))
    assert len(ghostscript) == 1


LARGE = [(LARGEST_PIXELS // 1000 + 1, 1000), (12_000, 12_000), (2**31 - 1, 2**31 - 1)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", LARGE)
def test_a_picture_that_claims_too_many_pixels_is_refused_in_words(tmp_path, size):
    (tmp_path / "a dog.png").write_bytes(claimed(*size))
    with pytest.raises(WeightsError, match="a dog.png is no readable picture .it claims .*pixels"):
        PicturesOnDisk(tmp_path)("m", ["a dog"], 0)


MEMORY = """
import resource, sys
from pathlib import Path
from suite.pictures import PictureError, read_picture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_picture(Path(sys.argv[1]))
except PictureError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_it_is_refused_before_memory_is_taken(tmp_path):
    (tmp_path / "large.png").write_bytes(claimed(12_000, 12_000))
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "large.png")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert int(run.stdout) < 20_000, run.stdout + run.stderr


@pytest.mark.parametrize("content", [b"", b"<html>", encoded("PNG")[:40], encoded("JPEG")[:-200], claimed(100, 100)])
def test_damaged_pictures_are_refused_in_words(tmp_path, content):
    (tmp_path / "file.png").write_bytes(content)
    with pytest.raises(PictureError, match="damaged|no PNG"):
        read_picture(tmp_path / "file.png")
    with pytest.raises(PictureError):
        read_picture(io.BytesIO(content))


def test_an_absent_picture_is_none(tmp_path):
    assert not is_picture(tmp_path / "none.png")


def test_the_dashboard_shows_none_of_another_format(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    (tmp_path / "b.png").write_bytes(encoded("EPS"))
    row = SimpleNamespace(artefacts={"a": "a.png", "b": "b.png", "c": "none.png"})
    assert tables.pictures(row).keys() == {"a", "b"} and tables.shown_pictures(row) == {"a": tmp_path / "a.png"}


def test_pictures_are_opened_in_one_place_only():
    opened = [
        path
        for folder in ("suite", "leaderboards", "dashboard", "scripts", "benchmarks", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if "Image.open(" in path.read_text(encoding="utf-8")
    ]
    assert opened == [ROOT / "suite/pictures.py"]
