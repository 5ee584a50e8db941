"""A coloured mesh as GLB, as other programs read it: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html.

glTF has y up and z to the front, and its vertex colours are linear (3.4, 3.7.2.1). trimesh writes coordinates and
colours as they are, so the file is put together here.
"""

from __future__ import annotations

import json
import struct

import numpy as np

FLOAT32, UINT16, UINT32 = 5126, 5123, 5125
FOR_VERTICES, FOR_INDICES = 34962, 34963
# Without a material an object is metal by the specification (and trimesh, which has no 16-bit colours, shows noise).
MATERIAL = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}


def y_up(vertices: np.ndarray) -> np.ndarray:
    """Turned by -90° about x: z, the suite's up, becomes y, and what looks at the judge's azimuth 0 looks along z."""
    x, y, z = vertices.T
    return np.stack([x, z, -y], 1)


def linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB fractions -> linear ones, IEC 61966-2-1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def glb(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray) -> bytes:
    """vertices [V, 3] with z up, faces [F, 3], colours [V, 3] sRGB fractions; none of them empty."""
    positions = y_up(vertices).astype("<f4")
    # 16 bits, since dark tones band in 8 linear ones; an alpha, since each colour begins at a multiple of 4 bytes.
    shades = np.rint(linear(np.pad(colours, ((0, 0), (0, 1)), constant_values=1.0)) * 65535).astype("<u2")
    parts = [positions.tobytes(), shades.tobytes(), faces.astype("<u4").tobytes()]  # each of whole fours of bytes
    starts = np.cumsum([0, *map(len, parts)])
    low, high = positions.min(0).tolist(), positions.max(0).tolist()
    scene = {
        "asset": {"version": "2.0", "generator": "text3d-bench"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "material": 0}]}],
        "materials": [MATERIAL],
        "accessors": [
            {"bufferView": 0, "componentType": FLOAT32, "count": len(positions), "type": "VEC3"}
            | {"min": low, "max": high},
            {"bufferView": 1, "componentType": UINT16, "count": len(shades), "type": "VEC4", "normalized": True},
            {"bufferView": 2, "componentType": UINT32, "count": faces.size, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": int(start), "byteLength": len(part), "target": target}
            for start, part, target in zip(starts, parts, (FOR_VERTICES, FOR_VERTICES, FOR_INDICES))
        ],
        "buffers": [{"byteLength": int(starts[-1])}],
    }
    return _file(json.dumps(scene).encode(), b"".join(parts))


def _file(scene: bytes, data: bytes) -> bytes:
    """The container: a header, a chunk of JSON padded with spaces, a chunk of bytes."""
    scene += b" " * (-len(scene) % 4)
    chunks = [struct.pack("<I4s", len(chunk), kind) + chunk for chunk, kind in ((scene, b"JSON"), (data, b"BIN\0"))]
    return struct.pack("<4sII", b"glTF", 2, 12 + sum(map(len, chunks))) + b"".join(chunks)
