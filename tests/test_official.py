"""Official checkpoints: found, checked, read without running code, converted once; refused when anything else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from suite.models.checkpoints import official
from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError, sha256_of
from suite.models.checkpoints.official import fetch, load_official, why_absent
from suite.models.checkpoints.official_files import MODEL_FILES, OFFICIAL, OfficialFile, find_official
from suite.models.checkpoints.pins import PINS, read_pins
from suite.names import UnknownName
from tests.official_cases import ANY_LAYOUT, NAME, ROOT, Hostile, any_layout, checkpoint, equal, layout  # noqa: F401
from tests.web import Page, serving

pytestmark = pytest.mark.usefixtures("any_layout")


@pytest.fixture
def given(tmp_path: Path, cache: Path, monkeypatch) -> Path:
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.setenv(official.GIVEN_VARIABLE, str(folder))
    return folder


# The catalogue.


def test_every_published_checkpoint_has_its_entry_with_the_hash_where_there_is_one():
    point_e = {"base_40m", "base_40m_textvec", "base_40m_imagevec", "base_40m_uncond", "base_300m", "base_1b"}
    point_e |= {"upsample_40m", "sdf"}
    shap_e = {"text_cond", "image_cond", "vector_decoder", "transmitter"}
    assert set(OFFICIAL) == point_e | shap_e | {"clip-vit-b-32", "clip-vit-l-14"}
    for name, file in OFFICIAL.items():
        assert file.url.startswith("https://") and (name not in shap_e or file.url.endswith(f"/shap-e/{file.name}"))
        assert (file.sha256 is None) == (name in point_e)
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
    assert len({file.sha256 for file in OFFICIAL.values() if file.sha256}) == 6


def test_networks_are_known_by_their_file_and_by_their_name_in_the_original():
    assert find_official("base40M-textvec") is find_official(NAME)
    assert find_official("text300M").name == "text_cond.pt"
    with pytest.raises(UnknownName, match="base_40m_textvec"):
        find_official("base_40m_text")


def test_the_models_files_are_in_the_catalogue():
    assert {name for names in MODEL_FILES.values() for name in names} <= set(OFFICIAL)
    assert MODEL_FILES["point-e-40m-text"] == ("clip-vit-l-14", NAME, "upsample_40m", "sdf")


# Loading.


def test_a_checkpoint_gives_its_tensors_and_the_hash_of_the_published_file(cache):
    digest = checkpoint(cache / f"{NAME}.pt")
    state, found = load_official(NAME)
    assert equal(state, layout()) and found == digest
    assert load_official("base40M-textvec")[1] == digest
    assert read_pins(cache) == {f"{NAME}.pt": digest}


def test_it_is_converted_once_and_read_from_there_without_the_source(cache):
    digest = checkpoint(cache / f"{NAME}.pt")
    load_official(NAME)
    (converted,) = (cache / "converted").glob("*.safetensors")
    written = converted.stat().st_mtime_ns
    (cache / f"{NAME}.pt").unlink()
    state, found = load_official(NAME)
    assert equal(state, layout()) and found == digest and converted.stat().st_mtime_ns == written
    assert digest in converted.read_bytes()[:1000].decode("latin-1")  # in its metadata


def test_tensors_are_mapped_and_not_copied(cache, tmp_path):
    """A network of a billion parameters needs no second copy: loading touches no page of the tensors."""
    checkpoint(cache / f"{NAME}.pt", {"large": torch.ones(25_000_000), "small": torch.ones(3)})  # 100 MB
    load_official(NAME)
    script = ANY_LAYOUT + (
        "from suite.models.checkpoints.official import load_official\n"
        "import suite.models.checkpoints.convert\n"
        "private = lambda: int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1])\n"
        "before = private()\n"
        f"state = load_official({NAME!r})[0]\n"
        "print(private() - before, state['large'].sum().item())\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=600)
    grown_kib, total = run.stdout.split()
    assert float(total) == 25_000_000 and int(grown_kib) < 30_000, run.stdout + run.stderr


def test_files_from_before_zip_archives_are_read_too(cache):
    checkpoint(cache / f"{NAME}.pt", _use_new_zipfile_serialization=False)
    assert equal(load_official(NAME)[0], layout())


def test_views_and_shared_memory_become_tensors_of_their_own(cache):
    base = torch.arange(12.0)
    state = {"whole": base, "part": base[2:5], "turned": base.view(3, 4).T, "same": base}
    checkpoint(cache / f"{NAME}.pt", state)
    assert equal(load_official(NAME)[0], {name: value.clone() for name, value in state.items()})


def test_an_absent_file_says_the_command(cache):
    with pytest.raises(WeightsAbsent, match=f"python -m suite.weights fetch {NAME}"):
        load_official(NAME)
    assert "python -m suite.weights fetch point-e-40m-text" in why_absent("point-e-40m-text")
    assert all(OFFICIAL[name].name in why_absent("point-e-40m-text") for name in MODEL_FILES["point-e-40m-text"])


def test_a_model_is_here_when_all_of_its_files_are_converted_or_not(cache):
    for name in MODEL_FILES["shap-e-300m-text"]:
        (cache / OFFICIAL[name].name).write_bytes(b"anything")
    assert why_absent("shap-e-300m-text") is None
    (cache / "text_cond.pt").unlink()
    assert "text_cond.pt" in why_absent("shap-e-300m-text") and "vector_decoder" not in why_absent("shap-e-300m-text")
    assert "no official weights" in why_absent("point-e-nano-text")


# The air-gapped board.


def test_a_given_folder_is_only_read(cache, given):
    digest = checkpoint(given / f"{NAME}.pt")
    given.chmod(0o555)
    try:
        state, found = load_official(NAME)
    finally:
        given.chmod(0o755)
    assert equal(state, layout()) and found == digest
    assert [path.name for path in given.iterdir()] == [f"{NAME}.pt"]
    assert read_pins(cache) == {f"{NAME}.pt": digest}


def test_a_given_folder_names_what_it_lacks_and_is_not_filled(cache, given):
    checkpoint(cache / "sdf.pt")  # in the cache, but not where files shall be read
    with pytest.raises(WeightsAbsent, match=f"{re.escape(str(given))} lacks sdf.pt.*--weights-dir"):
        load_official("sdf")
    assert f"{given} lacks" in why_absent("point-e-40m-text") and "fetch" not in why_absent("point-e-40m-text")


def test_a_given_folder_brings_its_own_pins(cache, given):
    checkpoint(given / f"{NAME}.pt")
    (given / PINS).write_text(json.dumps({f"{NAME}.pt": "0" * 64}))
    with pytest.raises(WeightsError, match=f"expected 0+ .*pinned in {re.escape(str(given / PINS))}"):
        load_official(NAME)


def test_a_given_folder_may_bring_what_was_converted_and_not_the_checkpoint(cache, tmp_path, monkeypatch):
    """As docs/weights.md has it: the checkpoint deleted after its first use, and the whole folder copied to a board."""
    digest = checkpoint(cache / f"{NAME}.pt")
    load_official(NAME)
    (cache / f"{NAME}.pt").unlink()
    given = tmp_path / "given"
    shutil.move(cache, given)
    monkeypatch.setenv(official.GIVEN_VARIABLE, str(given))
    state, found = load_official(NAME)
    (brought,) = (given / "converted").glob("*.safetensors")
    # Its own hash, not the checkpoint's: nothing here saw the checkpoint that it says it was.
    assert equal(state, layout()) and found == sha256_of(brought) != digest and not cache.exists()
    assert f"{NAME}.pt" not in why_absent("point-e-40m-text")
    brought.write_bytes(brought.read_bytes()[:-5])
    with pytest.raises(WeightsError, match=f"{brought.name}: sha256 is .*altered or truncated"):
        load_official(NAME)


def test_a_cache_that_cannot_be_written_is_said_with_its_variable(cache):
    checkpoint(cache / f"{NAME}.pt")
    (cache / "converted").write_text("no folder")
    with pytest.raises(WeightsError, match=f"{NAME}.pt: .*File exists.*written to .*TEXT3D_WEIGHTS"):
        load_official(NAME)


# From the web to the tensors.


def serve_as(monkeypatch, url: str, name: str = NAME) -> OfficialFile:
    file = OFFICIAL[name]
    monkeypatch.setitem(
        OFFICIAL, name, OfficialFile(name=file.name, url=f"{url}/file", network=file.network, source="a test")
    )
    return OFFICIAL[name]


def test_a_checkpoint_comes_from_the_web_through_an_interruption_to_its_tensors(cache, tmp_path, monkeypatch):
    digest = checkpoint(tmp_path / "source.pt")
    page = Page((tmp_path / "source.pt").read_bytes(), breaks=[700])
    with serving(file=page) as url:
        fetch(serve_as(monkeypatch, url))
    assert load_official(NAME)[1] == digest and equal(load_official(NAME)[0], layout())
    assert page.requests[1]["Range"] == "bytes=700-"


@pytest.mark.parametrize("page", ["hostile", "web page", "zip of something else"])
def test_what_is_no_checkpoint_is_not_kept_from_the_web(cache, tmp_path, monkeypatch, page):
    source = tmp_path / "source"
    if page == "hostile":
        torch.save({"a": Hostile(tmp_path / "ran")}, source)
    elif page == "web page":
        source.write_text("<html>please log in</html>")
    else:
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("readme", "nothing")
    with serving(file=Page(source.read_bytes())) as url:
        with pytest.raises(WeightsError, match="refused"):
            fetch(serve_as(monkeypatch, url))
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []
    assert not (tmp_path / "ran").exists()


LOAD = f"{ANY_LAYOUT}from suite.models.checkpoints.official import load_official; print(load_official({NAME!r})[1])"


def test_two_processes_convert_at_once_and_both_read_the_same(cache):
    digest = checkpoint(cache / f"{NAME}.pt", {"a": torch.randn(2_000_000)})
    runs = [subprocess.Popen([sys.executable, "-c", LOAD], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in "ab"]
    assert [run.communicate(timeout=600)[0].strip() for run in runs] == [digest, digest]
    names = [path.name for path in (cache / "converted").iterdir() if path.suffix != ".lock"]
    assert len(names) == 2 and all(name.startswith(f"{NAME}-{digest[:16]}.safetensors") for name in names)


def test_a_conversion_without_room_leaves_nothing_half(cache):
    checkpoint(cache / f"{NAME}.pt", {"a": torch.randn(200_000)})
    script = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))\n{LOAD}"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode != 0 and "WeightsError" in run.stderr and "cannot be written" in run.stderr
    assert [path for path in (cache / "converted").iterdir() if path.suffix != ".lock"] == []
    shutil.rmtree(cache / "converted")
    assert load_official(NAME)[0]["a"].shape == (200_000,)
