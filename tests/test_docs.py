"""What the documents say is so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from suite.catalogue.devices import Device
from suite.catalogue.models import Model
from suite.catalogue.recipes import Optimization, Place, Technique
from suite.records import Status

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_status_has_its_line():
    text = (ROOT / "docs/statuses.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)) == {status.value for status in Status}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_starts_with_the_two_commands_and_make_knows_them():
    first = (ROOT / "README.md").read_text().splitlines()[2:4]
    assert [line.split()[:2] for line in first] == [["make", "bench"], ["make", "test"]]
    for target in ("bench", "test"):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("kind", [Model, Optimization, Device], ids=lambda kind: kind.__name__)
def test_the_blocks_to_copy_are_valid_entries(kind):
    text = (ROOT / "docs/extending.md").read_text()
    block = re.search(rf"^    {kind.__name__}\(\n.*?^    \),$", text, re.MULTILINE | re.DOTALL)[0]
    (entry,) = eval(f"[{block}]", {kind.__name__: kind, "Technique": Technique, "Place": Place})  # noqa: S307 - our own document
    assert isinstance(entry, kind) and entry.source
