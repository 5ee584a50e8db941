"""Conditioning pictures from folders and zip files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from PIL import Image

from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError
from suite.models.conditioning.pictures_on_disk import PicturesOnDisk
from suite.prompts import accept_zip

COLOURS = {"a red cube": (255, 0, 0), "a blue ball": (0, 0, 255)}


def folder(path: Path, names: dict[str, tuple[int, int, int]]) -> Path:
    path.mkdir()
    for name, colour in names.items():
        Image.new("RGB", (8, 8), colour).save(path / name)
    return path


def zipped(path: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for file in path.iterdir():
            archive.write(file, inside + file.name)
        archive.writestr("__MACOSX/._1.png", b"no picture")
    return path.with_suffix(".zip")


def colours_of(pictures: PicturesOnDisk, prompts: list[str]) -> list[tuple[int, int, int]]:
    return [picture.getpixel((0, 0)) for picture in pictures("m", prompts, 0)]


def test_pictures_are_found_by_their_prompts_names(tmp_path):
    names = {"A red_cube.png": (255, 0, 0), "a blue ball!.png": (0, 0, 255), ".hidden.png": (0, 0, 0)}
    pictures = PicturesOnDisk(folder(tmp_path / "p", names))
    assert colours_of(pictures, ["a blue ball", "a red cube"]) == [(0, 0, 255), (255, 0, 0)]
    with pytest.raises(WeightsAbsent, match="no picture of 'a green ring'; it has 2 pictures"):
        pictures("m", ["a green ring"], 0)


def test_ten_comes_after_two_in_a_list_of_numbered_pictures(tmp_path):
    """By their letters alone, 10.png would take the third caption and every later picture another's."""
    path = folder(tmp_path / "p", {f"coco-{k}.png": (k, 0, 0) for k in range(12)})
    (path / "captions.txt").write_text("\n".join(f"prompt {k}" for k in range(12)))
    assert colours_of(PicturesOnDisk(path), ["prompt 2", "prompt 10"]) == [(2, 0, 0), (10, 0, 0)]


@pytest.mark.parametrize("inside", ["", "images/"])
def test_numbered_pictures_are_found_by_a_list_beside_or_in_the_archive(tmp_path, inside):
    path = folder(tmp_path / "coco", {"0001.png": (0, 0, 255), "0000.png": (255, 0, 0)})
    archive = zipped(path, inside)
    (tmp_path / "coco.txt").write_text("a red cube\na blue ball\n")
    assert colours_of(PicturesOnDisk(archive), list(COLOURS)) == list(COLOURS.values())
    (path / "captions.txt").write_text("a blue ball\n\na red cube\n")
    assert colours_of(PicturesOnDisk(path), list(COLOURS)) == list(COLOURS.values())[::-1]


def test_a_list_of_another_length_is_refused(tmp_path):
    path = folder(tmp_path / "p", {"0.png": (0, 0, 0), "1.png": (0, 0, 0)})
    (path / "captions.txt").write_text("a red cube\n")
    with pytest.raises(WeightsError, match="2 pictures, but 1 lines"):
        PicturesOnDisk(path)


def test_two_pictures_of_one_prompt_are_refused(tmp_path):
    path = folder(tmp_path / "p", {"a dog.png": (0, 0, 0), "A dog!.png": (1, 1, 1)})
    with pytest.raises(WeightsError, match="A dog!.png and a dog.png are both pictures of"):
        PicturesOnDisk(path)
    (path / "captions.txt").write_text("a dog\na dog\n")
    with pytest.raises(WeightsError, match="both pictures of 'a dog'"):
        PicturesOnDisk(path)


def test_a_broken_picture_list_or_archive_is_named(tmp_path):
    path = folder(tmp_path / "p", {"a dog.png": (0, 0, 0)})
    (path / "a cat.png").write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="a cat.png is no readable picture"):
        PicturesOnDisk(path)("m", ["a cat"], 0)
    (path / "captions.txt").write_bytes(b"a\xff\nb")
    with pytest.raises(WeightsError, match="no text in UTF-8"):
        PicturesOnDisk(path)
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a dog.png", b"0" * 5000)
    content = bytearray((tmp_path / "z.zip").read_bytes())
    content[40:50] = b"\xff" * 10  # in the compressed picture
    (tmp_path / "z.zip").write_bytes(content)
    with pytest.raises(WeightsError, match="z.zip: not a zip file, or a broken one"):
        PicturesOnDisk(tmp_path / "z.zip")
    with pytest.raises(WeightsError, match="z.zip: not a zip file"):
        accept_zip(tmp_path / "z.zip")


def test_what_is_absent_empty_or_no_archive_is_said(tmp_path):
    with pytest.raises(WeightsAbsent, match="no such folder"):
        PicturesOnDisk(tmp_path / "none")
    with pytest.raises(WeightsError, match="holds no pictures"):
        PicturesOnDisk(folder(tmp_path / "empty", {}))
    (tmp_path / "broken.zip").write_bytes(b"PK not really")
    with pytest.raises(WeightsError, match="not a zip file"):
        PicturesOnDisk(tmp_path / "broken.zip")


def test_hash_changes_with_any_picture_and_with_the_list(tmp_path):
    path = folder(tmp_path / "p", {"0.png": (0, 0, 0), "1.png": (9, 9, 9)})
    hashes = [PicturesOnDisk(path).sha256]
    Image.new("RGB", (8, 8), (1, 1, 1)).save(path / "0.png")
    hashes.append(PicturesOnDisk(path).sha256)
    (path / "captions.txt").write_text("a\nb\n")
    hashes.append(PicturesOnDisk(path).sha256)
    assert len(set(hashes)) == 3 and PicturesOnDisk(path).sha256 == hashes[-1]
