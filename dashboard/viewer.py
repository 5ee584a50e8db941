"""Meshes to turn in a browser, by Google's `model-viewer`, which lies in `vendor` and asks nobody for anything.

https://modelviewer.dev, version 4.4.0, the bundle `model-viewer-umd.min.js` of its npm package, without its last line
(where its source map lies).
"""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path

import numpy as np

from dashboard.shapes import HEIGHT_PX, Shape
from dashboard.words import in_html
from suite.glb import glb

BUNDLE = Path(__file__).parent / "vendor" / "model-viewer.min.js"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src data: blob:; img-src data: "
    "blob:"
)
# From where the judge's first view looks: azimuth 20°, elevation 30°; the third turns with the size of the object.
LOOKS = 'camera-controls camera-orbit="20deg 60deg 105%" interaction-prompt="none" shadow-intensity="0"'
BEAD = 0.012  # a point's radius, of the cloud's largest side
CORNERS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
SIDES = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])


@cache
def bundle() -> str:
    return BUNDLE.read_text(encoding="utf-8")


def to_glb(shape: Shape) -> bytes:
    """Written anew: of a file that anybody may have made only the numbers come through. A cloud becomes beads, since
    programs draw a point of a GLB one pixel wide, if at all."""
    solid = beads(shape) if shape.faces is None else shape
    return glb(solid.points, solid.faces, solid.colours / 255)


def beads(cloud: Shape) -> Shape:
    """An octahedron around each point."""
    radius = BEAD * float(np.ptp(cloud.points, axis=0).max()) or BEAD
    count = len(cloud.points)
    points = (cloud.points[:, None] + radius * CORNERS).reshape(-1, 3)
    faces = (np.arange(count)[:, None, None] * len(CORNERS) + SIDES).reshape(-1, 3)
    return Shape(points, np.repeat(cloud.colours, len(CORNERS), 0), faces)


def document(content: bytes, alt: str) -> str:
    """A page of its own with one GLB, for a frame. alt: what it shows, in words."""
    source = f"data:model/gltf-binary;base64,{base64.b64encode(content).decode()}"
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="color-scheme" content="light dark">',
            f"<style>html, body {{ margin: 0 }} model-viewer {{ width: 100%; height: {HEIGHT_PX}px }}",
            "model-viewer::part(default-progress-bar) { display: none }</style>",
            f'<model-viewer {LOOKS} alt="{in_html(alt)}" src="{source}"></model-viewer>',
            f"<script>{bundle()}</script></html>",
        ]
    )
