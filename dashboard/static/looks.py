"""The static site's page of objects: a picture of each, prompt by prompt, with hit or miss, and the object to turn."""

from __future__ import annotations

import base64
import json

from dashboard import gallery, shapes, viewer
from dashboard.gallery import Subject
from dashboard.static import pages
from dashboard.words import in_html
from suite.objects import Absent, Altered, read

FILE, FOLDER = "gallery.html", "objects"
POLICY = pages.POLICY.replace("connect-src 'none'", "connect-src data: blob:")  # meshes are data: addresses


def files(subjects: list[Subject]) -> dict[str, str | bytes]:
    """The page, its pictures and its objects, by name; empty where nothing that was judged has a picture."""
    judged = [subject for subject in subjects if subject.outcomes]
    beside: dict[str, str | bytes] = {}
    said = ['<p><a href="index.html">All boards</a></p>', "<h1>What the objects look like</h1>"]
    for prompt in gallery.prompts(judged):
        cards = [_card(subject, prompt, beside) for subject in judged if prompt in subject.objects]
        said += [f"<h2>{in_html(prompt)}</h2>", f'<div class="looks">{"".join(cards)}</div>']
    said.append('<dialog id="turned"><p></p><div></div><form method="dialog"><button>Close</button></form></dialog>')
    if not beside:
        return {}
    return {FILE: pages.page("What the objects look like", said, POLICY), viewer.BUNDLE.name: viewer.bundle(), **beside}


def _card(subject: Subject, prompt: str, beside: dict[str, str | bytes]) -> str:
    name, told = in_html(subject.recipe.partition(",")[0]), gallery.judged(subject.outcomes.get(prompt))
    kept = subject.objects[prompt].files
    shown = '<span class="quiet">no picture</span>'
    if "png" in kept:
        try:
            file = f"{FOLDER}/{kept['png']}.png"
            beside[file] = read(subject.stores, kept["png"], "png")
            shown = f'<img src="{file}" width="224" height="224" loading="lazy" alt="object of {name}">'
        except (Absent, Altered):
            pass
    script = _script(subject, prompt)
    if script is not None:
        file, text = script
        beside[file] = text
        shown += f'<button data-object="{file}" data-said="{name}, {in_html(prompt)}">Turn it</button>'
    return f'<figure>{shown}<figcaption>{name}<br><span class="quiet">{in_html(told)}</span></figcaption></figure>'


def _script(subject: Subject, prompt: str) -> tuple[str, str] | None:
    """A file with the object, and its name: a cloud as Plotly's JSON, a mesh as GLB. As a script, since a page that was
    opened from the file system may read nothing else. None where there is nothing to turn."""
    kept = subject.objects[prompt].files
    ending = gallery.viewed(subject.objects[prompt])
    if ending is None:
        return None
    try:
        shape = shapes.read(read(subject.stores, kept[ending], ending), ending)
    except (Absent, Altered, shapes.Unreadable):
        return None
    if shape.faces is None:
        call = f"turnCloud({json.dumps(pages.plain_figure(shapes.figure(shape, kept[ending])))})"
    else:
        call = f'turnMesh("{base64.b64encode(viewer.to_glb(shape)).decode()}")'
    return f"{FOLDER}/{kept[ending]}.js", call + ";\n"
