"""Conditioning pictures from folders and zip files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from PIL import Image

from suite.models.pictures_on_disk import PicturesOnDisk
from suite.models.weights import WeightsAbsent, WeightsError

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
