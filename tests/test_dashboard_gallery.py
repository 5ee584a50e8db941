"""The page *Gallery*, and the objects on *Compare*, on stores made here."""

from __future__ import annotations

import base64
import json
import re
import struct
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import streamlit
import torch

from dashboard import gallery, screenshot, shapes, viewer
from dashboard.compare import Comparison
from leaderboards.__main__ import main
from leaderboards.objects import MADE, Made
from suite.metrics.keeping import keep_objects
from suite.metrics.pictures import single_views
from suite.models.mesh import Mesh, marching_cubes, write_mesh
from suite.objects import place
from suite.records import KeptObject, Measurement
from tests.dashboard_cases import NANO, matrix, open_app, prose, publish_runs, specs
from tests.factories import measurement

PAGE = "screens/gallery.py"
HOSTILE = "<img src=x onerror=alert(1)> ![x](http://elsewhere/x.png) :red[y] $z$ ../../z"


def cloud(seed: int) -> torch.Tensor:
    return torch.rand(1, 64, 6, generator=torch.Generator().manual_seed(seed))


def ball() -> list[Mesh]:
    axis = torch.linspace(-1, 1, 12)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    vertices, faces = marching_cubes(0.8 - (x * x + y * y + z * z).sqrt())
    return [Mesh(vertices, faces, (vertices + 1) / 2)]


def kept(folder: Path, objects, prompt: str = "prompt 0") -> KeptObject:
    """In the store beside the runs of `publish_runs`."""
    (one,) = keep_objects(folder / "objects", objects, [prompt], single_views(objects))
    return one


def runs(folder: Path) -> list[Measurement]:
    """A cloud that is hit, one that is missed and a mesh, all of one prompt."""
    return [
        measurement(objects=[kept(folder, cloud(0))]),
        measurement(f"{NANO}/steps-16@cpu", seconds=0.5, hits=set(range(1, 120)), objects=[kept(folder, cloud(1))]),
        measurement(
            "shap-e-nano-text/fp32@cpu", output="coloured mesh of a grid of 64", objects=[kept(folder, ball())]
        ),
        measurement(f"{NANO}/bf16@cpu"),
    ]


@pytest.fixture
def open_page(monkeypatch):
    streamlit.cache_resource.clear()
    return lambda folder, page=PAGE, **query: open_app(monkeypatch, folder, page, **query)


def link_of(page) -> dict[str, list[str]]:
    link = next(code.value for code in page.code if "data=" in code.value)
    return parse_qs(urlsplit(link).query, keep_blank_values=True)


def mesh_in(page) -> bytes:
    """The GLB in the page's one frame."""
    (frame,) = page.get("iframe")
    (found,) = re.findall(r'src="data:model/gltf-binary;base64,([^"]*)"', frame.proto.srcdoc)
    return base64.b64decode(found)


def test_one_prompt_across_recipes_with_hit_or_miss_and_one_viewer(open_page, tmp_path):
    page = open_page(publish_runs(tmp_path, runs(tmp_path)))
    names = [f"{NANO}/fp32", f"{NANO}/steps-16", "shap-e-nano-text/fp32"]
    assert page.selectbox(key="object").options == [f"{name}, embedded weights" for name in names]
    assert len(page.get("image")) == 3
    said = prose(page).replace("\\", "")
    assert "hit, lead 0.100" in said and "miss: 2 of 153, behind by 0.100" in said
    (viewer,) = specs(page)
    assert viewer["data"][0]["type"] == "scatter3d"
    assert [button.label for button in page.get("download_button")] == ["PLY", "GLB"]


def test_a_card_a_choice_and_a_link_lead_to_an_object(open_page, tmp_path):
    folder = publish_runs(tmp_path, runs(tmp_path))
    page = open_page(folder)
    next(button for button in page.button if button.key == "card 2").click().run()
    assert page.selectbox(key="object").value == "shap-e-nano-text/fp32, embedded weights"
    assert mesh_in(page) and not specs(page)
    assert [button.label for button in page.get("download_button")] == ["GLB", "PLY"]
    page.selectbox(key="form").set_value("mesh").run()
    assert len(page.selectbox(key="object").options) == 1
    asked = {name: values[0] for name, values in link_of(page).items()}
    assert set(asked) == {"prompt", "form", "object", "data"}
    again = open_page(folder, **asked)
    assert mesh_in(again) == mesh_in(page) and not again.warning
    lost = open_page(folder, object="nothing/of-this", prompt="a blue whale")
    assert len(lost.warning) == 2 and specs(lost)


def test_where_nothing_is_kept_it_says_what_to_type(open_page, tmp_path):
    page = open_page(publish_runs(tmp_path, matrix()))
    assert "No object is kept yet" in prose(page)
    assert "pytest -m cpu -k point-e-nano-text/distilled-2 --benchmark-save" in prose(page)
    assert "python -m benchmarks.objects" in prose(page)


def test_an_absent_object_is_said_and_the_others_are_shown(open_page, tmp_path):
    found = runs(tmp_path)
    for ending, sha256 in found[0].objects[0].files.items():
        place(tmp_path / "objects", sha256, ending).unlink()
    page = open_page(publish_runs(tmp_path, found))
    assert "The object cannot be shown" in prose(page) and "is not on this machine" in prose(page)
    assert "no picture" in prose(page)
    assert len(page.get("image")) == 2 and not specs(page)
    page.selectbox(key="object").set_value(f"{NANO}/steps-16, embedded weights").run()
    assert specs(page)


def test_an_altered_object_is_never_shown(open_page, tmp_path):
    found = runs(tmp_path)
    path = place(tmp_path / "objects", found[0].objects[0].files["ply"], "ply")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    page = open_page(publish_runs(tmp_path, found))
    assert "its content is not what its name says" in prose(page) and not specs(page)


def test_an_object_that_was_left_out_says_why(open_page, tmp_path):
    one = KeptObject(prompt="prompt 0", note="no object: not finite: 3 of 256 points")
    page = open_page(publish_runs(tmp_path, [measurement(objects=[one])]))
    assert "No object is kept: no object: not finite: 3 of 256 points" in prose(page).replace("\\", "")


def test_a_hostile_prompt_is_text(open_page, tmp_path):
    found = [measurement(objects=[kept(tmp_path, cloud(0), HOSTILE)])]
    page = open_page(publish_runs(tmp_path, found), prompt=HOSTILE)
    assert page.selectbox(key="prompt").value == HOSTILE and specs(page)
    markdown = "\n".join(e.value for e in [*page.markdown, *page.caption, *page.info, *page.warning])
    assert "![x](" not in markdown and "<img" not in markdown.replace("\\<img", "") and ":red[" not in markdown
    assert "<img" not in json.dumps(specs(page))
    subject = gallery.of_run(found[0], [])
    name = gallery.file_name(subject, HOSTILE)
    assert name == "img-src-x-onerror-alert-1-x-http-elsewhere-x-png-red-y-z-z--point-e-nano-text-fp32"
    assert gallery.file_name(subject, "ü/..") == "object--point-e-nano-text-fp32"


def test_what_was_made_by_name_stands_for_a_recipe_of_the_same_weights_only(open_page, tmp_path):
    entry = Made(
        model=NANO,
        optimization="fp32",
        weights="embedded",
        weights_sha256="a" * 64,
        output="point cloud of 1,024 points",
        how="python -m benchmarks.objects point-e-nano-text/fp32",
        objects=[kept(tmp_path, cloud(0))],
    )
    (tmp_path / "objects" / MADE).write_text(json.dumps([entry.model_dump(mode="json"), {"model": HOSTILE}]))
    page = open_page(publish_runs(tmp_path, [measurement()]))
    assert "made by python -m benchmarks.objects" in prose(page).replace("\\", "") and specs(page)
    assert "hit, lead" in prose(page) and "cannot be" not in prose(page)
    assert "made.json" in prose(page).replace("\\", "")  # of the entry that cannot be read
    (other,) = gallery.subjects([measurement(weights_sha256="c" * 64)], [entry], [])
    assert other.outcomes == {} and "judged by no run at hand" in other.said
    assert gallery.pair(Comparison(measurement(), measurement(weights_sha256="c" * 64)), [entry], []) is None


def test_a_full_run_is_shown_before_a_newer_smoke_run(tmp_path):
    old = measurement(objects=[kept(tmp_path, cloud(0))], session="old", board="one")
    new = old.model_copy(
        update={"smoke": True, "measured_at": "2026-11-25T04:00:00Z", "session": "new", "board": "two"}
    )
    (subject,) = gallery.subjects([new, old], [], [])
    assert "session old" in subject.said


def test_compare_shows_both_objects_of_a_prompt_on_which_they_differ_first(open_page, tmp_path):
    others = [kept(tmp_path, cloud(n), "prompt 1") for n in (2, 3)]
    found = [
        measurement(objects=[others[0], kept(tmp_path, cloud(0))]),
        measurement(f"{NANO}/steps-16@cpu", hits=set(range(1, 120)), objects=[others[1], kept(tmp_path, cloud(1))]),
        measurement(f"{NANO}/bf16@cpu"),
    ]
    folder = publish_runs(tmp_path, found)
    names = {
        o: f"{NANO}/{o}, embedded weights; 2026-11-23 04:00:00 UTC; first on laptop, cpu" for o in ("fp32", "bf16")
    }
    names["steps-16"] = names["fp32"].replace("fp32", "steps-16")
    page = open_page(folder, "screens/compare.py", a_rows=names["fp32"], b_rows=names["steps-16"])
    assert page.selectbox(key="prompt").options == ["prompt 0", "prompt 1"]
    assert [figure["data"][0]["type"] for figure in specs(page)].count("scatter3d") == 2
    assert "on 1 of them one is hit and the other missed" in prose(page)
    assert link_of(page)["prompt"] == ["prompt 0"]
    none = open_page(folder, "screens/compare.py", a_rows=names["fp32"], b_rows=names["bf16"])
    assert "Their objects" not in prose(none)


def test_the_static_site_has_pictures_of_what_was_judged_and_loses_those_that_are_gone(tmp_path, capsys):
    publish_runs(tmp_path, [*runs(tmp_path), measurement(f"{NANO}/steps-8@cpu", objects=[KeptObject(prompt=HOSTILE)])])
    out = tmp_path / "out"
    assert main(["site", str(out), "--history", str(tmp_path / "history")]) == 0
    page = (out / "gallery.html").read_text()
    assert page.count("<figure>") == 4 and page.count("no picture") == 1
    assert "miss: 2 of 153, behind by 0.100" in page and "<img src=x" not in page
    shown = set(re.findall(r'src="(objects/[0-9a-f]{64}.png)"', page))
    assert len(shown) == 3 and all((out / name).read_bytes().startswith(b"\x89PNG") for name in shown)
    turned = re.findall(r'<button data-object="(objects/[0-9a-f]{64}.js)"', page)
    calls = sorted((out / name).read_text().partition("(")[0] for name in turned)
    assert calls == ["turnCloud", "turnCloud", "turnMesh"] and (out / "model-viewer.min.js").stat().st_size > 1_000_000
    assert 'href="gallery.html"' in (out / "index.html").read_text()
    mine = out / "objects" / f"{'0' * 64}.txt"
    mine.touch()
    (tmp_path / "none" / "history").mkdir(parents=True)
    assert main(["site", str(out), "--history", str(tmp_path / "none" / "history")]) == 0
    assert not (out / "gallery.html").exists() and list(out.glob("objects/*")) == [mine]
    assert not (out / "model-viewer.min.js").exists()


def test_a_frame_may_ask_nobody_and_a_files_own_texts_do_not_come_through(tmp_path):
    scene = {"asset": {"version": "2.0"}, "images": [{"uri": "http://elsewhere.example/x.png"}]}
    (mesh,) = ball()
    write_mesh(tmp_path / "a.glb", mesh)
    content = (tmp_path / "a.glb").read_bytes()
    length = int.from_bytes(content[12:16], "little")
    told = json.dumps(json.loads(content[20 : 20 + length]) | scene).encode()
    told += b" " * (-len(told) % 4)
    head = struct.pack("<4sII", b"glTF", 2, len(content) - length + len(told)) + struct.pack("<I4s", len(told), b"JSON")
    shape = shapes.read(head + told + content[20 + length :], "glb")
    page = viewer.document(viewer.to_glb(shape), HOSTILE)
    assert b"elsewhere" not in viewer.to_glb(shape) and "default-src 'none'" in page
    assert "<img src=x" not in page.partition("<script>")[0]
    again = shapes.read(viewer.to_glb(shape), "glb")
    assert np.allclose(again.points, shape.points, atol=1e-6) and (again.faces == shape.faces).all()
    assert (again.colours == shape.colours).all()


def test_a_clouds_glb_has_a_bead_of_its_colour_around_each_point():
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 0.5, 0]])
    cloud = shapes.Shape(points, np.array([[255, 0, 0], [0, 255, 0], [1, 2, 3]], np.uint8))
    solid = shapes.read(viewer.to_glb(cloud), "glb")
    assert solid.points.reshape(3, 6, 3).mean(1) == pytest.approx(points, abs=1e-6)
    assert (solid.colours.reshape(3, 6, 3) == cloud.colours[:, None]).all()
    outward = np.cross(*(solid.points[solid.faces[:, k]] - solid.points[solid.faces[:, 0]] for k in (1, 2)))
    from_centre = solid.points[solid.faces].mean(1) - np.repeat(points, 8, 0)
    assert ((outward * from_centre).sum(1) > 0).all(), "every face looks outwards"
    one = shapes.Shape(points[:1], cloud.colours[:1])
    assert np.ptp(shapes.read(viewer.to_glb(one), "glb").points) > 0


@pytest.mark.slow
def test_chromium_turns_a_mesh_and_a_cloud_of_the_static_site_from_files(tmp_path):
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
    if screenshot.find_chromium() is None:
        pytest.skip(f"no Chromium: none of {', '.join(screenshot.CHROMIUMS)} is on the path")
    publish_runs(tmp_path, runs(tmp_path))
    assert main(["site", str(tmp_path / "out"), "--history", str(tmp_path / "history")]) == 0
    with screenshot.browser(390, 844) as page:
        page.goto((tmp_path / "out" / "gallery.html").as_uri())
        for name, drawn in (("shap-e-nano-text/fp32", "model-viewer"), (f"{NANO}/fp32", "canvas")):
            page.locator(f'[data-said^="{name},"]').click()
            page.wait_for_selector(f"#turned {drawn}", timeout=60_000)
            if drawn == "model-viewer":
                page.wait_for_function("document.querySelector('#turned model-viewer').loaded", timeout=60_000)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.get_by_role("button", name="Close").click()
            page.wait_for_selector(f"#turned {drawn}", state="detached")
        page.evaluate("document.querySelector('[data-object]').click(); document.getElementById('turned').close()")
        page.wait_for_timeout(1000)
        assert page.evaluate("document.querySelector('#turned div').childElementCount") == 0, "closed before it came"
        assert [url for url in page.elsewhere if not url.startswith("file:")] == []


@pytest.mark.slow
def test_chromium_draws_a_mesh_in_a_frame_that_asks_nobody(tmp_path):
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
    if screenshot.find_chromium() is None:
        pytest.skip(f"no Chromium: none of {', '.join(screenshot.CHROMIUMS)} is on the path")
    (mesh,) = ball()
    write_mesh(tmp_path / "a.glb", mesh)
    shape = shapes.read((tmp_path / "a.glb").read_bytes(), "glb")
    (tmp_path / "frame.html").write_text(viewer.document(viewer.to_glb(shape), "a ball"), encoding="utf-8")
    with screenshot.browser(640, 480) as page:
        page.goto((tmp_path / "frame.html").as_uri())
        page.wait_for_function("document.querySelector('model-viewer').loaded", timeout=60_000)
        assert page.evaluate("document.querySelector('model-viewer').alt") == "a ball"
        assert [url for url in page.elsewhere if not url.startswith("file:")] == []
