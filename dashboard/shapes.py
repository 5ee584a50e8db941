"""Clouds and meshes from the files that were kept of them, as figures and as PLY. Without streamlit.

A file may come from anybody's run, so nothing in it is believed before it was counted.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from suite.records import Ending

SCALARS = {  # https://paulbourke.net/dataformats/ply/
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
}
COMPONENTS = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}  # glTF 2.0, 3.6.2.2
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
GREY = 140  # of what has no colour
HEIGHT_PX, POINT_PX = 480, 4


class Unreadable(ValueError):
    """A file that is no object which is shown here; says why."""


@dataclass(frozen=True)
class Shape:
    """points [V, 3], z up; colours [V, 3] sRGB in 8 bits; faces [F, 3] of a mesh, None of a cloud."""

    points: np.ndarray
    colours: np.ndarray
    faces: np.ndarray | None = None


def read(content: bytes, ending: Ending) -> Shape:
    """Unreadable for what is no binary PLY of points, no GLB with one mesh, or damaged."""
    try:
        shape = _read_ply(content) if ending == "ply" else _read_glb(content)
    except Unreadable:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise Unreadable(
            f"damaged, or of a form that is not shown here ({type(error).__name__}: {error})"[:200]
        ) from None
    if not len(shape.points) or not np.isfinite(shape.points).all():
        raise Unreadable("it has no points, or some that are no numbers")
    return shape


def _read_ply(content: bytes) -> Shape:
    head, found, body = content.partition(b"end_header\n")
    lines = head[:10_000].decode("ascii").splitlines()
    if not found or lines[:2] != ["ply", "format binary_little_endian 1.0"]:
        raise Unreadable("no binary PLY")
    elements = [n for n, line in enumerate(lines) if line.startswith("element ")]
    first = re.fullmatch(r"element vertex (\d{1,9})", lines[elements[0]])
    if first is None:
        raise Unreadable("its first element is no vertex")
    end = elements[1] if len(elements) > 1 else len(lines)
    properties = [line.split() for line in lines[elements[0] + 1 : end] if line.startswith("property ")]
    kinds = np.dtype([(name, SCALARS[kind]) for _, kind, name in properties])
    rows = np.frombuffer(body, kinds, int(first[1]))
    points = np.stack([rows[axis] for axis in "xyz"], 1).astype(float)
    channels = [name for name in ("red", "green", "blue") if name in rows.dtype.names]
    if len(channels) < 3:
        return Shape(points, np.full((len(points), 3), GREY, np.uint8))
    return Shape(points, np.stack([rows[name] for name in channels], 1).astype(np.uint8))


def _read_glb(content: bytes) -> Shape:
    magic, version, _, length, kind = struct.unpack_from("<4sIII4s", content)
    if (magic, version, kind) != (b"glTF", 2, b"JSON"):
        raise Unreadable("no GLB of glTF 2.0")
    scene, data = json.loads(content[20 : 20 + length]), content[28 + length :]
    (part,) = scene["meshes"][0]["primitives"]

    def array(number: int) -> np.ndarray:
        accessor = scene["accessors"][number]
        view = scene["bufferViews"][accessor["bufferView"]]
        if "byteStride" in view or "sparse" in accessor:
            raise Unreadable("a GLB with interleaved or sparse values")
        width, start = WIDTHS[accessor["type"]], view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        if not 0 < accessor["count"] * width <= len(data) or start < 0:
            raise Unreadable("a GLB that claims more than it holds")
        kind = COMPONENTS[accessor["componentType"]]
        return np.frombuffer(data, kind, accessor["count"] * width, start).reshape(-1, width)

    x, y, z = array(part["attributes"]["POSITION"]).astype(float).T
    points = np.stack([x, -z, y], 1)  # glTF has y up
    faces = array(part["indices"]).reshape(-1, 3).astype(np.int64)
    if len(faces) and faces.max() >= len(points):
        raise Unreadable("a GLB whose faces name points that it has not")
    if "COLOR_0" not in part["attributes"]:
        return Shape(points, np.full((len(points), 3), GREY, np.uint8), faces)
    shades = array(part["attributes"]["COLOR_0"])[:, :3]
    most = 1.0 if shades.dtype.kind == "f" else np.iinfo(shades.dtype).max
    return Shape(points, _srgb(shades / most), faces)


def _srgb(linear: np.ndarray) -> np.ndarray:
    """Linear fractions -> sRGB in 8 bits, IEC 61966-2-1."""
    linear = linear.clip(0, 1)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(srgb * 255).astype(np.uint8)


def to_ply(shape: Shape) -> bytes:
    """Binary, with uchar colours, and faces where there are any."""
    vertices = np.empty(len(shape.points), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    vertices["xyz"], vertices["rgb"] = shape.points, shape.colours
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    if shape.faces is None:
        return "\n".join([*header, "end_header", ""]).encode() + vertices.tobytes()
    faces = np.empty(len(shape.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, shape.faces
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(header).encode() + vertices.tobytes() + faces.tobytes()


def figure(shape: Shape, name: str) -> go.Figure:
    """To turn with the pointer. name: what keeps the view while the page changes around it."""
    x, y, z = shape.points.astype(np.float32).T
    colours = [f"rgb({r},{g},{b})" for r, g, b in shape.colours.tolist()]
    if shape.faces is None:
        marks = {"size": POINT_PX, "color": colours}
        trace = go.Scatter3d(x=x, y=y, z=z, mode="markers", marker=marks, hoverinfo="skip")
    else:
        i, j, k = shape.faces.astype(np.int32).T
        light = {"ambient": 0.6, "diffuse": 0.6, "specular": 0.1, "roughness": 0.9}
        trace = go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, vertexcolor=colours, hoverinfo="skip", lighting=light)
    plain = {"visible": False, "showspikes": False}
    # From where the judge's first view looks: azimuth 20°, elevation 30°.
    camera = {"eye": {"x": 1.63, "y": 0.59, "z": 1.0}, "projection": {"type": "orthographic"}}
    return go.Figure(
        trace,
        {
            "scene": {"xaxis": plain, "yaxis": plain, "zaxis": plain, "aspectmode": "data", "camera": camera},
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
            "height": HEIGHT_PX,
            "uirevision": name,
        },
    )
