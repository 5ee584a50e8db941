"""The cache of graphs and engines: what is whole is loaded, anything else is named, removed and made again."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest

from suite.optimizations.onnx import cache as engine_cache
from suite.optimizations.onnx.cache import MANIFEST, cached_entry, fault, filled_in_place

KEY = {"graph": "abc", "torch": "2.13", "nested": {"steps": [1, 2]}}


class Maker:
    """Writes two files, one in a folder, and counts."""

    def __init__(self, text: str = "whole"):
        self.calls, self.text = 0, text

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "graph.onnx").write_text(self.text)
        (folder / "deeper").mkdir()
        (folder / "deeper" / "tensors.bin").write_bytes(b"\0" * 4096)


def test_an_entry_is_made_once_and_lies_below_the_folder_of_weights(cache):
    make = Maker()
    first, again = cached_entry("Base Diffusion/é", KEY, make), cached_entry("Base Diffusion/é", KEY, make)
    assert first == again and make.calls == 1
    assert first.parent == cache / "engines" and first.name.startswith("base-diffusion-")
    manifest = json.loads((first / MANIFEST).read_text())
    assert manifest["key"] == KEY and set(manifest["sha256"]) == {"graph.onnx", "deeper/tensors.bin"}
    assert fault(first, KEY) is None


def test_another_key_is_another_entry(cache):
    make = Maker()
    assert cached_entry("x", KEY, make) != cached_entry("x", KEY | {"torch": "2.14"}, make) and make.calls == 2


def cut(folder: Path) -> str:
    path = folder / "deeper" / "tensors.bin"
    path.write_bytes(path.read_bytes()[:100])
    return "tensors.bin: its sha256 is not the one"


def alter(folder: Path) -> str:
    (folder / "graph.onnx").write_text("hole")
    return "graph.onnx: its sha256 is not the one"


def lose(folder: Path) -> str:
    (folder / "graph.onnx").unlink()
    return "graph.onnx: a file too many or too few"


def add(folder: Path) -> str:
    (folder / "z.engine").write_text("foreign")
    return "z.engine: a file too many or too few"


def unsealed(folder: Path) -> str:
    (folder / MANIFEST).unlink()
    return f"{MANIFEST}: the manifest cannot be read"


def nonsense(folder: Path) -> str:
    (folder / MANIFEST).write_text("[1]")
    return f"{MANIFEST}: the manifest cannot be read"


def foreign(folder: Path) -> str:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["key"]["torch"] = "1.0"
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return f"{MANIFEST}: this is the entry of something else"


def nested(folder: Path) -> str:
    (folder / MANIFEST).write_text("[" * 100_000)
    return f"{MANIFEST}: the manifest cannot be read"


def hidden(folder: Path) -> str:
    (folder / "deeper" / MANIFEST).write_text("{}")
    return f"{MANIFEST}: a file too many or too few"


def a_file(folder: Path) -> str:
    shutil.rmtree(folder)
    folder.write_text("no folder")
    return f"{MANIFEST}: the manifest cannot be read"


def a_link(folder: Path) -> str:
    elsewhere = folder.rename(folder.parent.parent / "elsewhere")
    (elsewhere / "graph.onnx").unlink()
    folder.symlink_to(elsewhere)
    return "graph.onnx: a file too many or too few"


def a_link_to_nothing(folder: Path) -> str:
    shutil.rmtree(folder)
    folder.symlink_to(folder.parent / "nothing")
    return f"{MANIFEST}: the manifest cannot be read"


DAMAGES = [
    cut,
    alter,
    lose,
    add,
    unsealed,
    nonsense,
    foreign,
    nested,
    hidden,
    a_file,
    a_link,
    a_link_to_nothing,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_what_is_not_whole_is_named_and_made_again(cache, damage):
    make = Maker()
    folder = cached_entry("x", KEY, make)
    words = damage(folder)
    with pytest.warns(UserWarning, match=words.replace(".", r"\.")) as told:
        assert cached_entry("x", KEY, make) == folder
    assert str(folder) in str(told[0].message) and make.calls == 2
    assert fault(folder, KEY) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached_entry("x", KEY, make)
    assert make.calls == 2


def test_a_maker_that_fails_leaves_nothing(cache):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("full disk")

    with pytest.raises(RuntimeError, match="full disk"):
        cached_entry("x", KEY, fail)
    assert [path for path in engine_cache.engines_folder().iterdir() if path.suffix != ".lock"] == []


def test_what_a_process_that_died_was_making_is_removed(cache):
    make = Maker()
    folder = cached_entry("x", KEY, make)
    other = folder.with_name(f".{folder.name}.999999")
    other.mkdir()
    (other / "half").write_text("x")
    cached_entry("x", KEY, make)
    assert not other.exists() and make.calls == 1


def test_a_library_that_fills_its_own_folder_finds_its_files_again(cache):
    with filled_in_place("engine", KEY) as folder:
        (folder / "sm75.engine").write_text("built")
    with filled_in_place("engine", KEY) as again:
        assert again == folder and (again / "sm75.engine").read_text() == "built"
        (again / "timing.cache").write_text("more")
    assert fault(folder, KEY) is None


def test_what_a_library_left_when_it_failed_is_removed(cache):
    with pytest.raises(RuntimeError), filled_in_place("engine", KEY) as folder:
        (folder / "sm75.engine").write_text("half")
        raise RuntimeError("killed")
    with pytest.warns(UserWarning, match="the manifest cannot be read"), filled_in_place("engine", KEY) as again:
        assert again == folder and list(again.iterdir()) == []


def test_an_empty_folder_that_nobody_began_to_fill_is_no_fault(cache):
    with pytest.raises(RuntimeError), filled_in_place("engine", KEY):
        raise RuntimeError("no TensorRT")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with filled_in_place("engine", KEY) as folder:
            assert list(folder.iterdir()) == []
