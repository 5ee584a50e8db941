"""The static site's page of objects: a picture of each, prompt by prompt, with hit or miss."""

from __future__ import annotations

from dashboard import gallery
from dashboard.gallery import Subject
from dashboard.static.pages import page
from dashboard.words import in_html
from suite.objects import Absent, Altered, read

FILE, FOLDER = "gallery.html", "objects"


def files(subjects: list[Subject]) -> dict[str, str | bytes]:
    """The page and its pictures, by name; empty where nothing that was judged has a picture."""
    judged = [subject for subject in subjects if subject.outcomes]
    pictures: dict[str, str | bytes] = {}
    said = ['<p><a href="index.html">All boards</a></p>', "<h1>What the objects look like</h1>"]
    for prompt in gallery.prompts(judged):
        cards = [_card(subject, prompt, pictures) for subject in judged if prompt in subject.objects]
        said += [f"<h2>{in_html(prompt)}</h2>", f'<div class="looks">{"".join(cards)}</div>']
    return {FILE: page("What the objects look like", said), **pictures} if pictures else {}


def _card(subject: Subject, prompt: str, pictures: dict[str, str | bytes]) -> str:
    name, told = in_html(subject.recipe.partition(",")[0]), gallery.judged(subject.outcomes.get(prompt))
    sha256 = subject.objects[prompt].files.get("png")
    shown = '<span class="quiet">no picture</span>'
    if sha256 is not None:
        try:
            file = f"{FOLDER}/{sha256}.png"
            pictures[file] = read(subject.stores, sha256, "png")
            shown = f'<img src="{file}" width="224" height="224" loading="lazy" alt="object of {name}">'
        except (Absent, Altered):
            pass
    return f'<figure>{shown}<figcaption>{name}<br><span class="quiet">{in_html(told)}</span></figcaption></figure>'
