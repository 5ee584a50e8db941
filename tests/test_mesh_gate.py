"""What is said of meshes, held against meshes made by hand and against trimesh."""

from __future__ import annotations

import pytest
import torch
import trimesh

from suite.judging.scores import summarize
from suite.metrics.mesh_gate import mesh_facts
from suite.models.mesh import Mesh, marching_cubes
from suite.records import MeshFacts, PromptOutcome

# A tetrahedron: the least that is closed.
CORNERS = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
SIDES = [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]


def mesh(vertices, faces) -> Mesh:
    vertices = torch.tensor(vertices)
    return Mesh(vertices, torch.tensor(faces), torch.zeros(len(vertices), 3))


def two() -> Mesh:
    return mesh(CORNERS + [[x + 5, y, z] for x, y, z in CORNERS], SIDES + [[n + 4 for n in side] for side in SIDES])


BY_HAND = {
    "closed": (mesh(CORNERS, SIDES), dict(watertight=True, components=1, faces=4, degenerate_faces=0)),
    "a hole": (mesh(CORNERS, SIDES[:3]), dict(watertight=False, components=1, faces=3, degenerate_faces=0)),
    "two parts": (two(), dict(watertight=True, components=2, faces=8, degenerate_faces=0)),
    "a face twice": (
        mesh(CORNERS, SIDES + SIDES[:1]),
        dict(watertight=False, components=1, faces=5, degenerate_faces=0),
    ),
    "a face without an area": (
        mesh([*CORNERS, [2.0, 0.0, 0.0]], [*SIDES, [0, 1, 4]]),
        dict(watertight=False, components=1, faces=5, degenerate_faces=1),
    ),
    "a vertex that no face has": (
        mesh([*CORNERS, [9.0, 9.0, 9.0]], SIDES),
        dict(watertight=True, components=1, faces=4, degenerate_faces=0),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_meshes_made_by_hand(name):
    made, expected = BY_HAND[name]
    assert mesh_facts(made) == MeshFacts(**expected)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("radii", [(0.5,), (0.3, 0.2)])
def test_surfaces_of_a_field_are_what_trimesh_says(radii, whole):
    """Balls beside each other, and such balls without one of their faces."""
    axes = torch.linspace(-1, 1, 24)
    grid = torch.stack(torch.meshgrid(axes, axes, axes, indexing="ij"), -1)
    places = torch.tensor([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]])
    inside = torch.stack([r - (grid - at).norm(dim=-1) for r, at in zip(radii, places)]).amax(0)
    vertices, faces = marching_cubes(inside)
    faces = faces if whole else faces[1:]
    facts = mesh_facts(Mesh(vertices, faces, torch.zeros_like(vertices)))
    theirs = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert facts.watertight == theirs.is_watertight == whole
    assert facts.components == theirs.body_count == len(radii)
    assert facts.faces == len(theirs.faces)


def test_nothing_is_said_of_what_is_no_mesh():
    assert mesh_facts(Mesh.nothing()) is None
    assert mesh_facts(torch.zeros(8, 6)) is None
    assert mesh_facts(mesh([[float("nan"), 0.0, 0.0], *CORNERS[1:]], SIDES)) is None


def test_the_gate_counts_meshes_only():
    facts = [mesh_facts(BY_HAND[name][0]) for name in ("closed", "two parts", "a face without an area")]
    outcomes = [PromptOutcome(prompt="x", rank_153=0, margin_153=0.1, mesh=one) for one in [*facts, None]]
    gate = summarize("judge", outcomes).meshes
    assert (gate.meshes, gate.components, gate.degenerate_faces) == (3, 1, 1 / 17)
    assert gate.watertight.value == 2 / 3
    assert summarize("judge", outcomes[-1:]).meshes is None
