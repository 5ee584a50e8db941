"""Triangle meshes with a colour a vertex: made from a field, drawn from, written to files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from suite.glb import glb
from suite.models.finite import NotFinite, not_finite


@dataclass
class Mesh:
    """On the CPU: vertices [V, 3] within about ±1, faces [F, 3] indices into them, colours [V, 3] sRGB fractions."""

    vertices: Tensor
    faces: Tensor
    colours: Tensor
    field_fault: str | None = None  # what was wrong with the field that it was to be the surface of

    @classmethod
    def nothing(cls, field_fault: str | None = None) -> Mesh:
        """Of a field without a surface, or one that has no right one."""
        return cls(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 3), field_fault)

    @property
    def not_finite(self) -> str | None:
        """How much of it, or of its field, is no number; None where all is."""
        return self.field_fault or not_finite(torch.cat([self.vertices, self.colours], 1), "vertices")

    @property
    def empty(self) -> bool:
        return len(self.faces) == 0

    def as_points(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points spread evenly over the surface, [count, 6] with colours, and their normals [count, 3]."""
        return surface_points(self, count, generator)

    def write(self, folder: Path, stem: str) -> list[Path]:
        """PLY and GLB, with vertex colours."""
        paths = [folder / f"{stem}.{ending}" for ending in ("ply", "glb")]
        for path in paths:
            write_mesh(path, self)
        return paths


def marching_cubes(inside: Tensor) -> tuple[Tensor, Tensor]:
    """The surface of a grid [G, G, G] over [-1, 1]³ whose values are positive inside: vertices [V, 3], faces [F, 3].

    A field without a surface gives an empty mesh. By scikit-image (Lewiner et al. 2003): the published decoders pad
    the grid by two but map it to the same box, which shrinks a mesh by (G - 1) / (G + 1); here the border is closed
    where it lies.
    """
    from skimage.measure import marching_cubes as march

    size = inside.shape[0]
    grid = np.pad(inside.detach().float().cpu().numpy(), 1, constant_values=-1.0)
    if not np.isfinite(grid).all() or not (grid > 0).any():
        return torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long)
    # Its word for faces that turn counter-clockwise as seen from outside, where outside is the lower side.
    vertices, faces, _, _ = march(grid, level=0.0, gradient_direction="ascent")
    vertices = (torch.from_numpy(vertices.copy()) - 1) / (size - 1) * 2 - 1
    return vertices.clamp(-1, 1), torch.from_numpy(faces.astype(np.int64))


def surface_points(mesh: Mesh, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points spread evenly over the surface, [count, 6] with colours, and their normals [count, 3]."""
    corners = mesh.vertices[mesh.faces]  # [F, 3, 3]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled_area = cross.norm(dim=-1)
    face = torch.multinomial(doubled_area.clamp(min=1e-12), count, replacement=True, generator=generator)
    a, b = torch.rand(2, count, generator=generator)
    # The square root spreads points evenly over a triangle: Osada et al. 2002, section 4.2.
    root = a.sqrt()[:, None]
    weights = torch.cat([1 - root, root * (1 - b[:, None]), root * b[:, None]], 1)  # [count, 3]
    values = torch.cat([mesh.vertices, mesh.colours], 1)[mesh.faces[face]]  # [count, 3, 6]
    return (weights[..., None] * values).sum(1), torch.nn.functional.normalize(cross[face], dim=-1)


def clustered(mesh: Mesh, cells: int) -> Mesh:
    """A smaller mesh to look at: the vertices of each cell of a grid over [-1, 1]³ become their mean (Rossignac and
    Borrel 1993, "Multi-resolution 3D approximations for rendering complex scenes"), and faces without three corners
    go. cells: along a side."""
    place = ((mesh.vertices + 1) / 2 * cells).floor().clamp(0, cells - 1).long()
    number = (place * torch.tensor([cells * cells, cells, 1])).sum(-1)
    _, cell, counts = torch.unique(number, return_inverse=True, return_counts=True)
    values = torch.cat([mesh.vertices, mesh.colours], 1).float()
    means = torch.zeros(len(counts), 6).index_add_(0, cell, values) / counts[:, None]
    faces = cell[mesh.faces]
    corners_differ = (faces != faces.roll(1, dims=1)).all(-1)
    return Mesh(means[:, :3], faces[corners_differ], means[:, 3:], mesh.field_fault)


def write_mesh(path: Path, mesh: Mesh) -> None:
    """PLY or GLB, by the file's ending, with vertex colours: a PLY has sRGB and z up, a GLB what glTF asks for."""
    if fault := mesh.not_finite:
        raise NotFinite(fault)
    if mesh.empty:
        raise ValueError("a mesh without faces is no object to write")
    vertices, faces, colours = mesh.vertices.float().numpy(), mesh.faces.numpy(), mesh.colours.float().clamp(0, 1)
    if path.suffix == ".glb":
        path.write_bytes(glb(vertices, faces, colours.numpy()))
        return
    import trimesh  # half a second, and needed for a PLY alone

    shades = (colours * 255).round().byte().numpy()
    trimesh.Trimesh(vertices, faces, vertex_colors=shades, process=False).export(path)
