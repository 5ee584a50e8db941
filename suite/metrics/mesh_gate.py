"""Whether a mesh is one that a printer or a physics engine takes. A gate that is shown, and never a rank: a ball that
is watertight is no better answer to "a red cube" than a cube with a hole.

Watertight is as trimesh has it (`Trimesh.is_watertight`, trimesh.org): every edge belongs to exactly two faces. By
arrays, since trimesh takes several times as long; tests hold the two against each other.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from suite.models.mesh import Mesh
from suite.models.shown import Shown
from suite.records import MeshFacts

NO_AREA = 1e-10  # square units, of an object that fits ±1: a face of a grid of 128 has 1e-4


def mesh_facts(made: Shown) -> MeshFacts | None:
    """None of what is no mesh, has no faces, or is not finite."""
    if not isinstance(made, Mesh) or made.empty or made.not_finite is not None:
        return None
    vertices, faces = made.vertices.double().numpy(), made.faces.numpy()
    corners = vertices[faces]
    doubled = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, counts = np.unique(ends[:, 0] * len(vertices) + ends[:, 1], return_counts=True)
    a, b = np.divmod(edges, len(vertices))
    joined = coo_matrix((np.ones(len(a), dtype=bool), (a, b)), shape=(len(vertices),) * 2)
    unused = int((np.bincount(faces.ravel(), minlength=len(vertices)) == 0).sum())  # each would count as a part
    return MeshFacts(
        watertight=bool((counts == 2).all()),
        components=connected_components(joined, directed=False)[0] - unused,
        faces=len(faces),
        degenerate_faces=int((doubled / 2 <= NO_AREA).sum()),
    )
