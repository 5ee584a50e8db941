"""A few of a cell's objects, kept to be looked at: a picture each, then clouds as PLY and meshes as GLB, as far as the
cell's room goes. What is not kept, and how a mesh was made smaller, the record says.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from PIL import Image
from torch import Tensor

from suite.history import HistoryError
from suite.metrics.pictures import write_ply
from suite.metrics.seen import why_not_finite
from suite.models.mesh import Mesh, clustered, write_mesh
from suite.models.pipeline import Objects
from suite.models.shown import Shown
from suite.objects import CELL_BYTES, OBJECTS, put
from suite.records import Ending, KeptObject

PALETTE = 64  # colours of a picture
GRIDS = (64, 48, 40, 32, 24, 16, 12)  # that vertices are gathered by, until a mesh has room


@dataclass
class _Room:
    """A store, and the bytes that a cell may still put there."""

    store: Path
    free: int
    held: set[str] = field(default_factory=set)

    def keep(self, one: KeptObject, ending: Ending, content: bytes) -> KeptObject:
        if len(content) > self.free:
            return noted(one, f"{ending}: {len(content):,} bytes, where {self.free:,} were free")
        try:
            sha256 = put(self.store, content, ending)
        except HistoryError as error:
            return noted(one, f"{ending}: not written ({getattr(error.__cause__, 'strerror', error)})")
        self.free -= 0 if sha256 in self.held else len(content)
        self.held.add(sha256)
        return one.model_copy(update={"files": one.files | {ending: sha256}})


def keep_objects(
    store: Path, objects: Objects, prompts: Sequence[str], pictures: Sequence[Image.Image], room: int = CELL_BYTES
) -> list[KeptObject]:
    """The first objects of a cell in a store. pictures: one view of each. room: bytes for all of them."""
    left = _Room(store, room)
    kept = [KeptObject(prompt=prompt, note=_why_nothing(one)) for prompt, one in zip(prompts[:OBJECTS], objects)]
    made = [n for n, one in enumerate(kept) if one.note is None]
    for n in made:
        kept[n] = left.keep(kept[n], "png", _png(pictures[n]))
    for others, n in zip(range(len(made), 0, -1), made):
        try:
            files, note = _files(objects[n], left.free // others)
        except Exception as error:  # noqa: BLE001 - perhaps another package's writer; it costs an object, not the cell
            kept[n] = noted(kept[n], f"not written ({type(error).__name__}: {error})")
            continue
        kept[n] = noted(kept[n], note)
        for ending, content in files.items():
            kept[n] = left.keep(kept[n], ending, content)
    return kept


def noted(one: KeptObject, note: str | None) -> KeptObject:
    return one.model_copy(update={"note": "; ".join(filter(None, (one.note, note)))[:400] or None})


def _why_nothing(one: Tensor | Shown) -> str | None:
    if fault := why_not_finite(one):
        return f"no object: {fault}"[:400]
    return "nothing was made" if not isinstance(one, Tensor) and one.empty else None


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.quantize(PALETTE).save(content, "PNG", optimize=True)
    return content.getvalue()


def _files(one: Tensor | Shown, room: int) -> tuple[dict[Ending, bytes], str | None]:
    """By ending, and what was done to fit: a cloud as PLY, a mesh as GLB, other forms as they write themselves."""
    with TemporaryDirectory() as folder:
        if isinstance(one, Tensor):
            write_ply(path := Path(folder) / "object.ply", one)
            return {"ply": path.read_bytes()}, None
        if isinstance(one, Mesh):
            return _mesh(one, Path(folder) / "object.glb", room)
        by_ending = {path.suffix[1:]: path for path in one.write(Path(folder), "object")}
        return {ending: by_ending[ending].read_bytes() for ending in get_args(Ending) if ending in by_ending}, None


def _mesh(mesh: Mesh, path: Path, room: int) -> tuple[dict[Ending, bytes], str | None]:
    write_mesh(path, mesh)
    if path.stat().st_size <= room:
        return {"glb": path.read_bytes()}, None
    for cells in GRIDS:
        smaller = clustered(mesh, cells)
        if smaller.empty:
            break
        write_mesh(path, smaller)
        if path.stat().st_size <= room:
            was, now = len(mesh.vertices), len(smaller.vertices)
            return {"glb": path.read_bytes()}, f"glb: {now:,} of {was:,} vertices, gathered by a grid of {cells}"
    return {"glb": path.read_bytes()}, None  # the room says that it is too large
