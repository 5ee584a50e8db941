"""GLB files, read by their bytes as the specification of glTF 2.0 says, and by trimesh."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from suite.glb import linear, y_up
from suite.models.mesh import Mesh, marching_cubes, write_mesh
from suite.scenes.renderer import cameras

TYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


@dataclass
class Read:
    """A file's scene, and its accessors' values as they are stored."""

    scene: dict
    values: list[np.ndarray]

    @property
    def primitive(self) -> dict:
        return self.scene["meshes"][0]["primitives"][0]

    def attribute(self, name: str) -> np.ndarray:
        return self.values[self.primitive["attributes"][name]]

    @property
    def placed(self) -> np.ndarray:
        """The vertices where the scene's node puts them."""
        (root,) = self.scene["scenes"][self.scene["scene"]]["nodes"]
        matrix = np.array(self.scene["nodes"][root].get("matrix", np.eye(4).T.flatten())).reshape(4, 4).T
        return self.attribute("POSITION") @ matrix[:3, :3].T + matrix[:3, 3]

    @property
    def faces(self) -> np.ndarray:
        return self.values[self.primitive["indices"]].reshape(-1, 3)


def read(path: Path) -> Read:
    """The file by its bytes; every length, alignment and range that the specification asks for is looked at."""
    raw = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", raw)
    assert (magic, version, length) == (b"glTF", 2, len(raw)) and length % 4 == 0
    size, kind = struct.unpack_from("<I4s", raw, 12)
    assert kind == b"JSON" and size % 4 == 0
    scene, rest = json.loads(raw[20 : 20 + size]), raw[20 + size :]
    data_size, kind = struct.unpack_from("<I4s", rest)
    assert kind == b"BIN\0" and data_size % 4 == 0 and len(rest) == 8 + data_size
    (buffer,) = scene["buffers"]
    assert data_size - 3 <= buffer["byteLength"] <= data_size and "uri" not in buffer
    assert scene["asset"]["version"] == "2.0"
    values = []
    for accessor in scene["accessors"]:
        view, kind = scene["bufferViews"][accessor["bufferView"]], np.dtype(TYPES[accessor["componentType"]])
        width, start = WIDTHS[accessor["type"]], view["byteOffset"] + accessor.get("byteOffset", 0)
        stride = view.get("byteStride", width * kind.itemsize)
        assert start % 4 == 0 and (stride % 4 == 0 or view["target"] == 34963)
        assert accessor["count"] * stride == view["byteLength"] and start + view["byteLength"] <= buffer["byteLength"]
        stored = np.frombuffer(rest[8:], kind, accessor["count"] * width, start).reshape(-1, width)
        if "min" in accessor:
            assert (stored.min(0).tolist(), stored.max(0).tolist()) == (accessor["min"], accessor["max"])
        values.append(stored)
    return Read(scene, values)


def box(colour: float = 0.5) -> Mesh:
    """0.4 wide, 0.6 deep and 1.8 tall: along x, y and z, as the suite's axes say."""
    axis = torch.linspace(-1, 1, 48)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    inside = torch.minimum(torch.minimum(0.2 - x.abs(), 0.3 - y.abs()), 0.9 - z.abs())
    vertices, faces = marching_cubes(inside)
    return Mesh(vertices, faces, torch.full((len(vertices), 3), colour))


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Above 0 where the triangles turn counter-clockwise as seen from outside."""
    a, b, c = vertices[faces].swapaxes(0, 1).astype(float)
    return float((np.cross(a, b) * c).sum() / 6)


def written(folder: Path, mesh: Mesh) -> Read:
    mesh.write(folder, "made")
    return read(folder / "made.glb")


def test_what_stands_stands_in_programs_whose_up_is_y(tmp_path):
    made = written(tmp_path, box())
    assert (made.placed.max(0) - made.placed.min(0)) == pytest.approx([0.4, 1.8, 0.6], abs=1e-3)
    assert made.scene["accessors"][made.primitive["attributes"]["POSITION"]].keys() >= {"min", "max"}


def test_the_suites_front_is_the_front_and_right_stays_right():
    """glTF: +y is up, the front faces +z, and so what stands at the right is at +x."""
    right, up, back = cameras(torch.zeros(1), torch.zeros(1))[0].numpy()  # the judge's azimuth 0, at eye level
    assert y_up(np.stack([right, up, back])) == pytest.approx(np.eye(3), abs=1e-6)


def test_faces_look_outwards_before_and_after(tmp_path):
    mesh = box()
    made = written(tmp_path, mesh)
    assert volume(mesh.vertices.numpy(), mesh.faces.numpy()) == pytest.approx(0.4 * 0.6 * 1.8, rel=0.02)
    assert volume(made.placed, made.faces) == pytest.approx(volume(mesh.vertices.numpy(), mesh.faces.numpy()), rel=1e-5)


def test_colours_are_linear_in_16_bits(tmp_path):
    made = written(tmp_path, box(0.5))
    accessor = made.scene["accessors"][made.primitive["attributes"]["COLOR_0"]]
    assert accessor["componentType"] == 5123 and accessor["normalized"] is True
    assert accessor["count"] == len(made.attribute("POSITION"))
    colours = made.attribute("COLOR_0")
    assert np.abs(colours[:, :3].astype(int) - 14027).max() <= 2 and (colours[:, 3] == 65535).all()


@pytest.mark.parametrize(("srgb", "expected"), [(0.0, 0.0), (0.04, 0.0031), (0.5, 0.2140), (188 / 255, 0.5029), (1, 1)])
def test_srgb_becomes_linear_by_its_standard(srgb, expected):
    assert linear(np.array(srgb)) == pytest.approx(expected, abs=1e-4)


def test_it_is_no_metal(tmp_path):
    """Metal, which a mesh without a material is, shows its surroundings, and nothing where there are none."""
    made = written(tmp_path, box())
    assert made.scene["materials"][made.primitive["material"]]["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_dark_tones_stay_apart(tmp_path):
    mesh = box()
    shades = torch.arange(len(mesh.vertices)) % 64
    mesh.colours = (shades / 255)[:, None].expand(-1, 3)
    assert len(np.unique(written(tmp_path, mesh).attribute("COLOR_0")[:, 0])) == 64


def test_colours_beyond_the_range_are_clipped(tmp_path):
    mesh = box()
    mesh.colours = torch.tensor([-0.5, 0.5, 1.5]).expand(len(mesh.vertices), 3)
    assert written(tmp_path, mesh).attribute("COLOR_0")[0].tolist() == pytest.approx([0, 14027, 65535, 65535], abs=2)


def test_trimesh_reads_the_same_surface(tmp_path):
    """Not its colours: trimesh 5 has none of 16 bits, and shows an object with a material without them."""
    mesh = box(0.5)
    made = written(tmp_path, mesh)
    other = trimesh.load(tmp_path / "made.glb", force="mesh", process=False)
    assert other.is_watertight and other.volume == pytest.approx(0.4 * 0.6 * 1.8, rel=0.02)
    assert np.allclose(other.vertices, made.placed, atol=1e-6) and np.array_equal(other.faces, mesh.faces.numpy())


def test_a_ply_stays_as_the_suite_has_it(tmp_path):
    box(0.5).write(tmp_path, "made")
    other = trimesh.load(tmp_path / "made.ply", process=False)
    assert other.extents == pytest.approx([0.4, 0.6, 1.8], abs=1e-3)
    assert set(other.visual.vertex_colors[:, :3].flatten().tolist()) == {128}


def test_nothing_is_no_object_to_write(tmp_path):
    with pytest.raises(ValueError, match="without faces"):
        write_mesh(tmp_path / "made.glb", Mesh.nothing())
    assert not (tmp_path / "made.glb").exists()
