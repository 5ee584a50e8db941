"""Archives of others are judged by their headers, before memory is taken that a file of its size does not need."""

from __future__ import annotations

import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from suite import weights
from suite.models.checkpoints.archives import ALWAYS_BYTES, LARGEST_ENTRY_BYTES
from suite.models.checkpoints.convert import read_checkpoint
from suite.models.checkpoints.embedded import WeightsError
from suite.models.checkpoints.official import fetch, load_official
from suite.models.checkpoints.official_files import OFFICIAL
from suite.models.checkpoints.pins import PINS, read_pins
from suite.models.conditioning.pictures_on_disk import PicturesOnDisk
from suite.prompts import COCO_PICTURES, accept_zip
from tests.official_cases import NAME, ROOT, any_layout, checkpoint, layout  # noqa: F401
from tests.test_pictures_on_disk import folder, zipped
from tests.web import Page, serving

MB = 1 << 20


def rewritten(path: Path, method: int = zipfile.ZIP_STORED, more: tuple[tuple[str, bytes], ...] = ()) -> None:
    """A checkpoint's archive written again, with other entries or another compression."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in [*entries, *more]:
            archive.writestr(name, data)


def zeros(path: Path, name: str, count_mb: int) -> None:
    """A small archive that inflates to many megabytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(name, "w") as entry:
            for _ in range(count_mb):
                entry.write(bytes(MB))


# Checkpoints.


def test_a_checkpoint_that_was_packed_again_is_refused_unless_it_is_stored(tmp_path):
    path = tmp_path / "file.pt"
    checkpoint(path)
    rewritten(path)
    assert read_checkpoint(path).keys() == layout().keys()
    rewritten(path, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="file.pt: refused: 'file/.*' is compressed"):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_one_altered_byte_is_told_by_its_crc_before_anything_is_pinned(any_layout, cache, monkeypatch, capsys, share):
    path = cache / f"{NAME}.pt"
    checkpoint(path, {"a": torch.arange(50_000.0)})
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"{NAME}.pt: refused: '.*data/0' in it is altered"):
        load_official(NAME)
    assert weights.main(["verify", NAME]) == 1 and "is altered" in capsys.readouterr().out
    path.unlink()
    with serving(file=Page(bytes(content))) as url:
        known = type(OFFICIAL[NAME])(name=path.name, url=f"{url}/file", source="a test")
        monkeypatch.setitem(OFFICIAL, NAME, known)
        with pytest.raises(WeightsError, match="is altered"):
            fetch(known)
    assert not path.exists() and not (cache / PINS).exists() and not (cache / "converted").exists()


def claiming(path: Path, said: bytes, instead: bytes) -> None:
    """Change what the pickle of a checkpoint says."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    assert sum(said in data for name, data in entries if name.endswith("data.pkl")) == 1
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data.replace(said, instead) if name.endswith("data.pkl") else data)


@pytest.mark.parametrize("count", [b"K\x64", b"K\x02"])
def test_a_pickle_that_says_another_size_than_its_entry_has_is_refused(tmp_path, count):
    """torch would read on into what lies behind, and take that for numbers."""
    path = tmp_path / "file.pt"
    checkpoint(path, {"a": torch.ones(3), "b": torch.ones(1000)[:1]})
    assert read_checkpoint(path)["b"].shape == (1,)
    claiming(path, b"K\x03", count)
    with pytest.raises(
        WeightsError, match=r"file.pt: refused: (its pickle says that 'file/data/0' has|not a readable)"
    ):
        read_checkpoint(path)


LARGE = b"\x8a\x05\0\0\0\0\x01"  # the number 4 GB
GREEDY = {
    "an array of bytes": b"\x80\x02}X\x01\0\0\0acbuiltins\nbytearray\n" + LARGE + b"\x85Rs.",
    "an array of bytes by its old name": b"\x80\x02}X\x01\0\0\0ac__builtin__\nbytearray\n" + LARGE + b"\x85Rs.",
    "an array of bytes at once": b"\x80\x05}X\x01\0\0\0a\x96\0\0\0\0\x01\0\0\0s.",
    "an empty tensor": b"\x80\x02}X\x01\0\0\0actorch\nTensor\n" + LARGE + b"\x85Rs.",
    "a long word": b"\x80\x04}\x8d\0\0\0\0\x01\0\0\0aKs.",
    "a place far off in the memo": b"\x80\x02}r\xff\xff\xff\x7f.",
}
PEAK = """
import resource, sys
from pathlib import Path
from suite.models.checkpoints.convert import read_checkpoint
from suite.models.checkpoints.embedded import WeightsError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(Path, sys.argv[1:]):
    try:
        read_checkpoint(path)
    except WeightsError as error:
        print("REFUSED", error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_pickle_that_asks_for_gigabytes_is_refused_before_it_gets_them(tmp_path):
    paths = []
    for number, pickled in enumerate(GREEDY.values()):
        paths += [tmp_path / f"{number}.pt", tmp_path / f"{number}-old.pt"]
        with zipfile.ZipFile(paths[-2], "w") as archive:
            archive.writestr("a/data.pkl", pickled)
        paths[-1].write_bytes(pickled)
    old = tmp_path / "old.pt"
    checkpoint(old, {"a": torch.zeros(1000)}, _use_new_zipfile_serialization=False)
    old.write_bytes(old.read_bytes().replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f"))
    command = [sys.executable, "-c", PEAK, *map(str, [*paths, old])]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, preexec_fn=small_memory)
    *said, grown_kib = run.stdout.splitlines()
    assert len(said) == len(paths) + 1 and int(grown_kib) < 20_000, run.stdout + run.stderr


NAMES = ["../evil", "file/../../evil", "/evil", "C:/evil", "file\\..\\evil"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out_are_refused(tmp_path, name):
    path = tmp_path / "file.pt"
    checkpoint(path)
    rewritten(path, more=((name, b"x"),))
    with pytest.raises(WeightsError, match="leads out of the archive"):
        read_checkpoint(path)
    pictures = zipped(folder(tmp_path / "p", {"0.png": (0, 0, 0)}))
    rewritten(pictures, more=((f"{name}.png", b"x"),))
    for read in (PicturesOnDisk, accept_zip):
        with pytest.raises(WeightsError, match="leads out of the archive"):
            read(pictures)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_entry_that_is_there_twice_is_refused(tmp_path):
    """One reader takes the first, another the last: what was checked need not be what is read."""
    path = tmp_path / "file.pt"
    checkpoint(path)
    rewritten(path, more=(("file/data/0", b"x"),))
    with pytest.raises(WeightsError, match="'file/data/0' is in it twice"):
        read_checkpoint(path)
    pictures = zipped(folder(tmp_path / "p", {"0.png": (0, 0, 0)}))
    rewritten(pictures, more=(("0.png", b"x"),))
    with pytest.raises(WeightsError, match="'0.png' is in it twice"):
        PicturesOnDisk(pictures)


@pytest.mark.parametrize(
    "more", ["other/data.pkl", "file/DATA.PKL", "file/code/data.pkl", "file/data/0/../1", "FILE/x"]
)
def test_a_second_pickle_or_folder_is_refused(tmp_path, more):
    """The one that is looked at here must be the one that torch reads."""
    path = tmp_path / "file.pt"
    checkpoint(path)
    rewritten(path, more=((more, b"x"),))
    with pytest.raises(WeightsError, match="torch would not know|more than one data.pkl|leads out|not a readable"):
        read_checkpoint(path)


def lying(path: Path, name: str, **fields: int) -> None:
    """Change what the archive's directory says of an entry."""
    with zipfile.ZipFile(path, "a") as archive:
        entry = archive.getinfo(name)
        for field, value in fields.items():
            setattr(entry, field, value)
        archive.writestr("more", b"")  # so that the directory is written again


def test_sizes_that_the_file_cannot_hold_are_refused(tmp_path):
    path = tmp_path / "file.pt"
    checkpoint(path)
    lying(path, "file/data/0", compress_size=4 << 30, file_size=4 << 30)
    with pytest.raises(WeightsError, match="its entries claim more bytes than the file has"):
        read_checkpoint(path)


def test_an_entry_that_inflates_to_more_than_it_says_is_broken(tmp_path):
    path = tmp_path / "z.zip"
    zeros(path, "0.png", 2)
    lying(path, "0.png", file_size=100)
    for read in (PicturesOnDisk, accept_zip):
        with pytest.raises(WeightsError, match="z.zip: .*(broken|altered)"):
            read(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_know_no_bound_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "z.zip", "w", method) as archive:
        archive.writestr("0.png", bytes(1000))
    with pytest.raises(WeightsError, match="'0.png' is compressed in a way that is not read here"):
        PicturesOnDisk(tmp_path / "z.zip")


def test_encrypted_pictures_are_said(tmp_path):
    path = zipped(folder(tmp_path / "p", {"0.png": (0, 0, 0)}))
    lying(path, "0.png", flag_bits=1)
    with pytest.raises(WeightsError, match="'0.png' is encrypted"):
        PicturesOnDisk(path)


# Memory.

BOMBS = {  # megabytes that the archive becomes
    "a large picture": ("0.png", LARGEST_ENTRY_BYTES // MB + 1),
    "a large checkpoint": ("archive/data.pkl", 80),
}
READ = """
import resource, sys
from pathlib import Path
from suite.models.checkpoints.convert import read_checkpoint
from suite.models.checkpoints.embedded import WeightsError
from suite.models.conditioning.pictures_on_disk import PicturesOnDisk
from suite.prompts import accept_zip
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    for read in (read_checkpoint, PicturesOnDisk, accept_zip):
        try:
            read(Path(path))
            print("READ", path)
        except WeightsError as error:
            print("REFUSED", error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_small_file_that_becomes_a_large_one_is_refused_before_memory_is_taken(tmp_path):
    paths = [tmp_path / f"{kind}.zip" for kind in BOMBS]
    for path, (name, count_mb) in zip(paths, BOMBS.values()):
        zeros(path, name, count_mb)
        assert path.stat().st_size < 2 * MB
    many = tmp_path / "many pictures.zip"
    with zipfile.ZipFile(many, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", bytes(ALWAYS_BYTES // 2))
    run = subprocess.run(
        [sys.executable, "-c", READ, *map(str, (*paths, many))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=small_memory,
    )
    *said, grown_kib = run.stdout.splitlines()
    assert len(said) == 9 and all(line.startswith("REFUSED") for line in said), run.stdout + run.stderr
    assert int(grown_kib) < 20_000


def small_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))


def test_pictures_that_are_compressed_a_little_are_read(cache, tmp_path, capsys):
    """As any tool packs them: a list of captions deflates well, pictures hardly."""
    path = folder(tmp_path / "p", {f"{k}.png": (k, 0, 0) for k in range(5)})
    (path / "captions.txt").write_text("".join(f"prompt {k}\n" for k in range(5)))
    archive = cache / COCO_PICTURES.name
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for file in path.iterdir():
            made.write(file, f"images/{file.name}")
    assert PicturesOnDisk(archive)("m", ["prompt 3"], 0)[0].getpixel((0, 0)) == (3, 0, 0)
    assert weights.main(["verify", "coco-images"]) == 0 and COCO_PICTURES.name in read_pins(cache)


def test_a_file_among_pictures_that_is_too_large_is_refused_unread(tmp_path):
    path = folder(tmp_path / "p", {"0.png": (0, 0, 0)})
    with open(path / "1.png", "wb") as sparse:
        sparse.truncate(LARGEST_ENTRY_BYTES + 1)
    with pytest.raises(WeightsError, match="1.png: refused: .* bytes are no picture's"):
        PicturesOnDisk(path)
