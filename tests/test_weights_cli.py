"""`python -m suite.weights`, and what a pytest session does with official weights: read them, never download them."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from suite import prompts, weights
from suite.devices.backend import slug
from suite.models.checkpoints import official
from suite.models.checkpoints.official import cache_folder, load_official
from suite.models.checkpoints.official_files import MODEL_FILES, OFFICIAL, OfficialFile
from tests import warm_server
from tests.official_cases import any_layout  # noqa: F401 - the fixture
from tests.test_prompts import coco_file  # noqa: F401 - the fixture
from tests.web import Page, serving

ROOT = Path(__file__).parents[1]
CELL = "suite/test_configurations.py::test_configuration[point-e-40m-text/fp32@cpu]"


@pytest.fixture
def web(any_layout, cache, tmp_path, monkeypatch):
    """All that there is to fetch, as small files on a server of the test's own. Gives the pages by file name."""
    pages = {}
    for name, file in OFFICIAL.items():
        path = tmp_path / file.name
        state = {"weight": torch.full((3,), float(len(name)))}
        if file.name.endswith(".pt"):
            torch.save(state, path)
        else:
            from safetensors.torch import save_file

            save_file(state, path)
        pages[name] = Page(path.read_bytes())
    coco = coco_file(tmp_path)
    pages["coco-captions"] = Page(coco.read_bytes())
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("0.png", b"picture")
    pages["coco-images"] = Page((tmp_path / "pictures.zip").read_bytes())
    with serving(**pages) as url:
        for name, file in list(OFFICIAL.items()):
            digest = hashlib.sha256(pages[name].data).hexdigest() if file.sha256 else None
            made = OfficialFile(
                name=file.name, url=f"{url}/{name}", network=file.network, sha256=digest, source="a test"
            )
            monkeypatch.setitem(OFFICIAL, name, made)
        digest = hashlib.sha256(coco.read_bytes()).hexdigest()
        captions = replace(prompts.COCO_CAPTIONS, url=f"{url}/coco-captions", sha256=digest, bytes=None)
        pictures = replace(prompts.COCO_PICTURES, url=f"{url}/coco-images")
        for module in (prompts, weights):
            monkeypatch.setattr(module, "COCO_CAPTIONS", captions)
            monkeypatch.setattr(module, "COCO_PICTURES", pictures)
        yield pages


def asked(pages: dict[str, Page]) -> set[str]:
    return {name for name, page in pages.items() if page.requests}


def test_a_model_is_fetched_with_its_networks_and_with_what_scores_it(web, capsys):
    assert official.why_absent("point-e-40m-text") is not None
    assert weights.main(["fetch", "point-e-40m-text"]) == 0
    needed = set(MODEL_FILES["point-e-40m-text"])
    assert asked(web) == needed | {"coco-captions", "clip-vit-b-32"}
    assert official.why_absent("point-e-40m-text") is None
    prompts.find_judging("coco")
    assert all(load_official(name)[0]["weight"].tolist() == [len(name)] * 3 for name in needed)
    assert str(cache_folder() / "upsample_40m.pt") in capsys.readouterr().out


def test_a_model_that_needs_pictures_says_where_these_come_from(web, capsys):
    weights.main(["fetch", "point-e-40m-image"])
    assert "point-e-40m-image: pictures too" in capsys.readouterr().out
    weights.main(["fetch", "point-e-40m-text"])
    assert "pictures" not in capsys.readouterr().out


def test_what_is_here_is_not_fetched_again(web):
    assert weights.main(["fetch", "sdf", "upsample"]) == 0
    assert weights.main(["fetch", "sdf", "point-e-40m-image"]) == 0
    assert [len(web[name].requests) for name in ("sdf", "upsample_40m", "base_40m")] == [1, 1, 1]


def test_captions_and_pictures_are_fetched_by_name(web):
    assert weights.main(["fetch", "coco", "coco-images"]) == 0
    assert asked(web) == {"coco-captions", "clip-vit-b-32", "coco-images"}
    assert len(prompts.load_prompts("coco").prompts) == 153
    assert zipfile.ZipFile(cache_folder() / "coco_images.zip").namelist() == ["0.png"]


def test_pictures_that_are_no_zip_file_are_not_kept(web, capsys):
    web["coco-images"].data = b"<html>"
    assert weights.main(["fetch", "coco-images"]) == 2
    assert "not a zip file" in capsys.readouterr().err and not (cache_folder() / "coco_images.zip").exists()


def test_an_unknown_name_is_answered_with_the_nearest(web, capsys):
    assert weights.main(["fetch", "point-e-40m-txt"]) == 2
    assert "nearest: point-e-40m-text" in capsys.readouterr().err and asked(web) == set()


def test_a_refusal_is_one_line_and_an_exit_status(web, capsys):
    web["sdf"].errors.append(404)
    assert weights.main(["fetch", "sdf"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m suite.weights: ") and "404" in error and "Traceback" not in error


def test_the_list_says_what_is_here(web, capsys):
    weights.main(["fetch", "sdf", "coco-captions"])
    capsys.readouterr()
    assert weights.main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    here = {name for name, line in lines.items() if "MB" in line}
    assert here == {"sdf", "coco-captions"} and set(OFFICIAL) | {"coco-images"} <= set(lines)
    assert "no hash yet" in lines["base_1b"] and "no hash yet" not in lines["sdf"]


def test_the_list_says_what_the_hubs_cache_has_instead(cache, monkeypatch, capsys):
    monkeypatch.setattr(official, "cached", lambda name: Path("anything") if name == "text_cond" else None)
    assert weights.main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "in Hub's cache" in lines["text_cond"] and "not here" in lines["vector_decoder"]


def test_the_list_knows_what_was_converted_where_the_checkpoint_was_deleted(web, capsys):
    weights.main(["fetch", "sdf"])
    load_official("sdf")
    (cache_folder() / "sdf.pt").unlink()
    capsys.readouterr()
    weights.main(["list"])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert " converted " in lines["sdf"] and "not here" in lines["base_1b"]


def test_verify_takes_every_hash_again(web, capsys):
    weights.main(["fetch", "sdf", "coco"])
    assert weights.main(["verify"]) == 0
    assert capsys.readouterr().out.count("(pinned in ") == 1
    path = cache_folder() / "sdf.pt"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert weights.main(["verify"]) == 1
    assert "sdf.pt: sha256 is" in capsys.readouterr().out
    assert weights.main(["verify", "coco"]) == 0
    assert weights.main(["verify", "upsample"]) == 1


def test_nothing_is_fetched_beside_a_given_folder(web, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(official.GIVEN_VARIABLE, str(tmp_path))
    assert weights.main(["fetch", "sdf"]) == 2
    assert "nothing is downloaded" in capsys.readouterr().err and asked(web) == set()


def test_the_command_line_does_without_torch():
    script = "import sys, suite.weights; print([m for m in ('torch', 'safetensors') if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=600, check=True
    )
    assert run.stdout.strip() == "[]"


def test_the_page_about_weights_says_what_each_model_needs():
    page = (ROOT / "docs/weights.md").read_text()
    for model, names in MODEL_FILES.items():
        assert f"| `{model}` | {', '.join(f'`{name}`' for name in names)} |" in page
    assert {official.CACHE_VARIABLE, official.GIVEN_VARIABLE} <= set(re.findall(r"TEXT3D_\w+", page))
    assert all(name in page for name in OFFICIAL)


# In a pytest session.


def session(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {"TEXT3D_BOARD": slug(f"test {tmp_path.name} {os.getpid()}")}
    environment[official.CACHE_VARIABLE] = str(tmp_path / "cache")
    return warm_server.session("-rs", *arguments, f"--benchmark-storage=file://{tmp_path}", **environment)


def test_a_session_says_the_command_and_downloads_nothing(tmp_path):
    result = session(tmp_path, CELL, "--weights", "official")
    assert result.returncode == 0 and "1 skipped" in result.stdout, result.stdout
    assert "needs-weights: " in result.stdout and "suite.weights fetch point-e-40m-text`" in result.stdout
    assert not (tmp_path / "cache").exists()


def test_a_sessions_workers_read_from_the_given_folder(tmp_path):
    (tmp_path / "given").mkdir()
    result = session(tmp_path, CELL, "--weights", "official", "--weights-dir", str(tmp_path / "given"))
    assert result.returncode == 0 and "1 skipped" in result.stdout, result.stdout
    assert f"{tmp_path / 'given'} lacks " in result.stdout and "suite.weights fetch" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights-dir", "/absent"], "--weights-dir: /absent is no folder"),
        (["--prompts", "/absent.txt"], "--prompts: /absent.txt: cannot be read"),
        (["--prompts", "twice.txt"], "twice.txt, line 2: 'a cat' is line 1 already"),
        (["--judge", "clip"], "unknown judge 'clip'; nearest: clip-vit-l-14"),
    ],
)
def test_wrong_files_are_usage_errors_before_anything_is_measured(tmp_path, arguments, words):
    (tmp_path / "twice.txt").write_text("a cat\na cat\n")
    arguments = [word.replace("twice.txt", str(tmp_path / "twice.txt")) for word in arguments]
    result = session(tmp_path, CELL, *arguments)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR and words in result.stdout
