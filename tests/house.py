"""The house: its rooms, their floors, and who imports whom. `python -m tests.house` draws it as docs/rooms.svg."""

from __future__ import annotations

import ast
from functools import cache, lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("suite", "leaderboards", "dashboard")
HEAVY = ("torch", "diffusers", "open_clip", "torchvision", "safetensors")

# Ground first. A module imports from lower floors, or from its own room; rooms on one floor do not know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        *("suite.collecting", "suite.command_line", "suite.fields", "suite.glb", "suite.names", "suite.pictures"),
        *("suite.sheets", "suite.toml"),
    ),
    ("suite.outcomes",),
    ("suite.records",),
    ("suite.machine",),
    ("suite.catalogue", "suite.judging", "suite.scenes"),
    ("suite.configurations", "suite.history", "suite.devices", "suite.models"),
    ("suite.saving",),
    ("suite.index", "suite.objects"),
    ("suite.baselines", "suite.budgets", "suite.nights", "suite.optimizations", "suite.prompts"),
    ("suite.building", "suite.metrics", "suite.weights"),
    ("suite.worker", "suite.training", "suite.generate"),
    ("suite.preflight",),
    ("suite.session",),
    ("suite.confirm", "suite.plugin"),
    ("suite.bisect", "suite.test_configurations"),
)
WITHOUT_TORCH = (
    "suite.collecting",
    "suite.command_line",
    "suite.fields",
    "suite.glb",
    "suite.machine",
    "suite.names",
    "suite.outcomes",
    "suite.pictures",
    "suite.records",
    "suite.sheets",
    "suite.catalogue",
    "suite.judging",
    "suite.configurations",
    "suite.history",
    "suite.index",
    "suite.baselines",
    "suite.budgets",
    "suite.nights",
    "suite.objects",
    "suite.saving",
    "suite.toml",
)
# What leaderboards and dashboard may use of the suite.
GROUND = (
    "suite.collecting",
    "suite.command_line",
    "suite.fields",
    "suite.glb",
    "suite.sheets",
    "suite.pictures",
    "suite.machine",
    "suite.records",
    "suite.judging",
    "suite.configurations",
    "suite.history",
    "suite.index",
    "suite.catalogue",
    "suite.names",
    "suite.nights",
    "suite.objects",
    "suite.saving",
    "suite.toml",
)


@cache
def modules(package: str) -> dict[str, Path]:
    """Every module below a package by its dotted name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(path: Path, everywhere: bool = True) -> frozenset[str]:
    """Modules that a file imports: at all, or when it is imported (not inside functions, nor for types only)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found, pending = set(), [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = name in all_modules()
                found.add(name if is_module else node.module)
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if everywhere or not (inside or for_types):
            pending += ast.iter_child_nodes(node)
    return frozenset(found)


@lru_cache(maxsize=1)
def all_modules() -> frozenset[str]:
    return frozenset(name for package in PACKAGES for name in modules(package))


def floor(module: str) -> int | None:
    """Of the room that the module is, or stands in."""
    parts = module.split(".")
    prefixes = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return next((number for number, rooms in enumerate(FLOORS) if prefixes & set(rooms)), None)


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def edges() -> set[tuple[str, str]]:
    """(room, room that it imports from), of the suite."""
    return {
        (room(name), room(other))
        for name, path in modules("suite").items()
        for other in imports(path)
        if other in all_modules() and other.startswith("suite.") and room(other) != room(name)
    }


# The picture.

PICTURE = ROOT / "docs" / "rooms.svg"
WIDTH, BOX, GAP, FLOOR_HEIGHT = 980, (170, 34), 20, 92


def drawing() -> str:
    """Rooms as boxes, ground floor last; an arrow from each room to those that it imports from."""
    places: dict[str, tuple[float, float]] = {}
    for number, rooms in enumerate(reversed(FLOORS)):
        span = len(rooms) * BOX[0] + (len(rooms) - 1) * GAP
        for k, name in enumerate(rooms):
            places[name] = ((WIDTH - span) / 2 + k * (BOX[0] + GAP), 20 + number * FLOOR_HEIGHT)
    height = 20 + len(FLOORS) * FLOOR_HEIGHT
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="14">'
        ),
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for start, end in sorted(edges()):
        (x1, y1), (x2, y2) = places[start], places[end]
        x1, x2, y1 = x1 + BOX[0] / 2, x2 + BOX[0] / 2, y1 + BOX[1]
        bend = (y1 + y2) / 2
        parts.append(
            f'<path d="M{x1:.0f},{y1:.0f} C{x1:.0f},{bend:.0f} {x2:.0f},{bend:.0f} {x2:.0f},{y2:.0f}" '
            'fill="none" stroke="#8aa" stroke-opacity="0.55"/>'
        )
    for name, (x, y) in places.items():
        light = any(name == other or name.startswith(f"{other}.") for other in WITHOUT_TORCH)
        fill = "#e8f3e8" if light else "#eef1fa"
        parts.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6" fill="{fill}" stroke="#567"/>'
            f'<text x="{x + BOX[0] / 2:.0f}" y="{y + 22:.0f}" text-anchor="middle">{name.removeprefix("suite.")}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
