"""Objects that are kept to be looked at: what a cell keeps, the store, the way into the committed one."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from dashboard import shapes
from leaderboards.__main__ import main
from leaderboards.objects import MOST_BYTES, STORE, made
from suite import history, saving
from suite.metrics.fp32_objects import kept as fp32_points
from suite.metrics.keeping import keep_objects
from suite.metrics.pictures import single_views
from suite.models.mesh import Mesh, clustered, marching_cubes
from suite.objects import CELL_BYTES, FOLDER, OBJECTS, Absent, Altered, place, put, read
from suite.prompts import load_prompts
from suite.records import KeptObject, Measurement
from tests.factories import measurement, session_file

PROMPTS = [f"prompt {n}" for n in range(6)]


def clouds(count: int = 6, points: int = 256) -> torch.Tensor:
    made = torch.rand(count, points, 6, generator=torch.Generator().manual_seed(0))
    made[..., :3] = made[..., :3] * 2 - 1
    return made


def ball(size: int = 24) -> Mesh:
    axis = torch.linspace(-1, 1, size)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    vertices, faces = marching_cubes(0.8 - (x * x + y * y + z * z).sqrt())
    return Mesh(vertices, faces, (vertices + 1) / 2)


def keep(store: Path, objects, **others) -> list[KeptObject]:
    return keep_objects(store, objects, PROMPTS[: len(objects)], single_views(objects), **others)


def files(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


# What a cell keeps


def test_the_first_clouds_are_kept_as_ply_and_picture_under_the_hash_of_their_content(tmp_path):
    objects = clouds()
    kept = keep(tmp_path, objects)
    assert [one.prompt for one in kept] == PROMPTS[:OBJECTS] and all(one.note is None for one in kept)
    for one, cloud in zip(kept, objects):
        shape = shapes.read(read([tmp_path], one.files["ply"], "ply"), "ply")
        assert np.allclose(shape.points, cloud[:, :3], atol=1e-6) and shape.faces is None
        assert np.abs(shape.colours / 255 - cloud[:, 3:].numpy()).max() <= 0.5 / 255 + 1e-6
        assert Image.open(place(tmp_path, one.files["png"], "png")).size == (224, 224)
    assert len(files(tmp_path)) == 2 * OBJECTS


def test_equal_objects_are_there_once(tmp_path):
    keep(tmp_path, clouds(1).expand(4, -1, -1))
    keep(tmp_path, clouds(1))
    assert len(files(tmp_path)) == 2


def test_a_mesh_is_kept_as_glb_and_read_back_as_it_was(tmp_path):
    mesh = ball()
    (one,) = keep(tmp_path, [mesh])
    assert one.note is None and set(one.files) == {"png", "glb"}
    shape = shapes.read(read([tmp_path], one.files["glb"], "glb"), "glb")
    assert np.allclose(shape.points, mesh.vertices, atol=1e-6) and (shape.faces == mesh.faces.numpy()).all()
    assert np.abs(shape.colours / 255 - mesh.colours.numpy()).max() <= 0.5 / 255 + 1e-4
    again = shapes.read(shapes.to_ply(shape), "ply")
    assert np.allclose(again.points, shape.points, atol=1e-6) and (again.colours == shape.colours).all()


def test_meshes_that_are_too_large_are_made_smaller_within_the_cells_room_and_the_record_says_so(tmp_path):
    kept = keep(tmp_path, [ball(64), ball(40), ball(24), ball(20)])
    assert sum(path.stat().st_size for path in files(tmp_path)) <= CELL_BYTES
    assert all("glb" in one.files for one in kept)
    assert "vertices, gathered by a grid of" in kept[0].note and kept[3].note is None
    radius = np.linalg.norm(shapes.read(read([tmp_path], kept[0].files["glb"], "glb"), "glb").points, axis=1)
    assert 0.7 < radius.min() and radius.max() < 0.85


def test_what_has_no_room_is_left_out_with_the_reason(tmp_path):
    kept = keep(tmp_path, clouds(points=4096), room=80_000)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 80_000
    assert all("png" in one.files for one in kept)
    assert kept[-1].note.startswith("ply: ") and "were free" in kept[-1].note


def test_gathered_vertices_keep_the_shape():
    mesh = ball(48)
    smaller = clustered(mesh, 12)
    assert len(smaller.vertices) < len(mesh.vertices) / 5
    assert smaller.vertices.norm(dim=-1).sub(0.8).abs().max() < 0.1
    assert smaller.faces.max() < len(smaller.vertices)
    assert clustered(mesh, 1).empty


def test_what_is_no_object_is_not_kept_and_costs_nothing(tmp_path):
    objects = clouds(3)
    objects[1, 0, 0] = float("nan")
    kept = keep(tmp_path, objects)
    assert kept[1].files == {} and "not finite: 1 of 256 points" in kept[1].note
    assert kept[0].files and kept[2].files
    assert keep(tmp_path, [Mesh.nothing()])[0].note == "nothing was made"


def test_a_full_disk_loses_objects_and_says_so(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving.os, "fsync", full)
    kept = keep(tmp_path, clouds(2))
    assert [one.files for one in kept] == [{}, {}]
    assert kept[0].note == "png: not written (No space left on device); ply: not written (No space left on device)"
    assert files(tmp_path) == []


# The store


def test_a_file_is_read_by_its_hash_and_an_altered_or_absent_one_is_told(tmp_path):
    sha256 = put(tmp_path / "a", b"content", "ply")
    put(tmp_path / "b", b"content", "ply")
    assert read([tmp_path / "a"], sha256, "ply") == b"content"
    place(tmp_path / "a", sha256, "ply").write_bytes(b"other")
    assert read([tmp_path / "a", tmp_path / "b"], sha256, "ply") == b"content"
    with pytest.raises(Altered, match="its content is not what its name says"):
        read([tmp_path / "a"], sha256, "ply")
    with pytest.raises(Absent, match="is not on this machine"):
        read([tmp_path / "none"], sha256, "ply")


@pytest.mark.parametrize("name", ["../../x", "A" * 64, "a" * 63, "a" * 64 + "/", ""])
def test_a_record_with_a_name_that_is_no_hash_is_refused(name):
    with pytest.raises(ValidationError, match="files"):
        KeptObject(prompt="p", files={"ply": name})


def test_records_are_bounded_and_old_ones_load():
    one = KeptObject(prompt="p")
    with pytest.raises(ValidationError, match="objects"):
        Measurement.model_validate(measurement().model_dump() | {"objects": [one] * 17})
    old = measurement().model_dump()
    del old["objects"]
    assert Measurement.model_validate(old).objects == []


# Into the committed store


@pytest.fixture
def session(tmp_path) -> tuple[Path, list[KeptObject]]:
    """A session's file beside what its cells kept."""
    kept = keep(tmp_path / "board" / "artefacts" / "first" / FOLDER, clouds(2))
    cells = [measurement(objects=kept), measurement("point-e-nano-text/bf16@cpu", objects=kept[:1])]
    return session_file(tmp_path / "board" / "0001_first.json", cells), kept


def test_keep_copies_the_objects_of_a_session_once(session, tmp_path, capsys):
    path, kept = session
    target = tmp_path / "boards" / "history"
    assert main(["keep", str(path), "--history", str(target)]) == 0
    assert "4 files of objects kept, " in capsys.readouterr().out
    store = tmp_path / "boards" / "objects"
    assert len(files(store)) == 4 and read([store], kept[1].files["ply"], "ply")
    assert main(["keep", str(path), "--history", str(target)]) == 0
    assert "4 files of objects kept, 0 bytes of them new" in capsys.readouterr().out


def test_merge_brings_the_objects_along_from_a_board_and_from_a_store(session, tmp_path, capsys):
    path, kept = session
    assert main(["merge", str(path.parents[1]), "--into", str(tmp_path / "lab" / "history")]) == 0
    store = tmp_path / "lab" / FOLDER
    assert len(files(store)) == 4 and read([store], kept[1].files["ply"], "ply")
    assert main(["merge", str(tmp_path / "lab" / "history"), "--into", str(tmp_path / "all" / "history")]) == 0
    assert [f.name for f in files(tmp_path / "all" / FOLDER)] == [f.name for f in files(store)]
    assert "left out" not in capsys.readouterr().err


def test_keep_leaves_out_what_is_altered_absent_or_no_file_and_keeps_the_rest(session, tmp_path, capsys):
    path, kept = session
    source = tmp_path / "board" / "artefacts" / "first" / FOLDER
    place(source, kept[0].files["ply"], "ply").write_bytes(b"other")
    place(source, kept[0].files["png"], "png").unlink()
    secret = tmp_path / "secret"
    secret.write_text("secret")
    linked = place(source, kept[1].files["png"], "png")
    linked.unlink()
    linked.symlink_to(secret)
    assert main(["keep", str(path), "--history", str(tmp_path / "boards" / "history")]) == 0
    said = capsys.readouterr()
    assert "1 files of objects kept" in said.out
    assert said.err.count("objects are left out: point-e-nano-text") == 3
    assert [f.name for f in files(tmp_path / "boards" / "objects")] == [f"{kept[1].files['ply']}.ply"]
    assert files(tmp_path / "boards" / "history")


def test_a_file_that_was_moved_away_from_its_objects_says_so_once_a_cell(session, tmp_path, capsys):
    path, _ = session
    moved = path.rename(tmp_path / path.name)
    assert main(["keep", str(moved), "--history", str(tmp_path / "boards" / "history")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 2 and all("@cpu: 2 files, the first: " in line for line in lines)


def test_the_store_is_bounded(session, tmp_path):
    from leaderboards.objects import keep_objects as copy

    path, kept = session
    cells = [measurement(objects=kept)]
    copied = copy(path, cells, tmp_path / "store", most_bytes=15_000)
    assert copied.files and copied.left_out and "no room for" in copied.left_out[0]
    assert sum(f.stat().st_size for f in files(tmp_path / "store")) <= 15_000


# What is committed


def test_the_stores_own_list_counts_against_its_bound(session, tmp_path):
    from leaderboards.objects import keep_objects as copy

    path, kept = session
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "made.json").write_bytes(b" " * 15_000)
    copied = copy(path, [measurement(objects=kept)], tmp_path / "store", most_bytes=15_000)
    assert copied.files == 0 and "no room for" in copied.left_out[0]


def test_the_committed_store_is_whole_small_and_of_todays_weights():
    entries, problems = made()
    assert problems == [] and {entry.model for entry in entries} == {
        f"{kind}-nano-{words}" for kind in ("point-e", "shap-e") for words in ("text", "image")
    }
    named = {(sha256, ending) for e in entries for one in e.objects for ending, sha256 in one.files.items()}
    for sha256, ending in named:
        content = read([STORE], sha256, ending)
        if ending != "png":
            shapes.read(content, ending)
    assert sum(place(STORE, *name).stat().st_size for name in named) < 3_200_000
    assert sum(path.stat().st_size for path in files(STORE)) < MOST_BYTES
    scored = [o.prompt for o in history.read_folder(history.COMMITTED).measurements[0].quality.outcomes]
    prompts = list(load_prompts("embedded").prompts[:OBJECTS])
    assert scored[:OBJECTS] == prompts
    assert all([one.prompt for one in entry.objects] == prompts for entry in entries)


def test_a_committed_fp32_object_is_the_one_that_recipes_are_held_against():
    entry = next(e for e in made()[0] if e.recipe == "point-e-nano-text/fp32")
    for one in entry.objects:
        shape = shapes.read(read([STORE], one.files["ply"], "ply"), "ply")
        assert np.abs(shape.points - fp32_points(entry.model)[one.prompt].numpy()).max() < 0.01


def test_broken_entries_are_told_and_the_others_are_read(tmp_path):
    whole = made()[0][0].model_dump(mode="json")
    (tmp_path / "made.json").write_text(json.dumps([whole, whole | {"model": "../x"}, 3]))
    entries, problems = made(tmp_path)
    assert len(entries) == 1 and len(problems) == 2 and "[1].model" in problems[0]
    (tmp_path / "made.json").write_text("[" * 100_000)
    assert made(tmp_path)[0] == [] and "cannot be read" in made(tmp_path)[1][0]


DAMAGED = {
    "ply": [b"", b"ply\n", b"ply\nformat ascii 1.0\nelement vertex 1\nend_header\n1 1 1\n"],
    "glb": [b"", b"glTF", b"glTF\x02\0\0\0" + b"\xff" * 40],
}


@pytest.mark.parametrize(("ending", "content"), [(ending, c) for ending, its in DAMAGED.items() for c in its])
def test_a_damaged_object_is_refused_in_words(ending, content):
    with pytest.raises(shapes.Unreadable):
        shapes.read(content, ending)


def test_an_object_that_claims_more_than_it_holds_is_refused(tmp_path):
    (cloud,) = keep(tmp_path, clouds(1))
    content = read([tmp_path], cloud.files["ply"], "ply")
    with pytest.raises(shapes.Unreadable, match="damaged"):
        shapes.read(content.replace(b"vertex 256", b"vertex 999999999"), "ply")
    (mesh,) = keep(tmp_path, [ball()])
    content = read([tmp_path], mesh.files["glb"], "glb")
    with pytest.raises(shapes.Unreadable):
        shapes.read(content.replace(b'"count": ', b'"count":9'), "glb")
