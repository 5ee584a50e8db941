"""A history of any size: sessions as `pytest --benchmark-save` writes them, made from the committed records.

    python -m benchmarks.synthetic OUT --records 100000 --files 2000 --prompts 4

Each cell is a committed record with its own names, stages, cost and fingerprint. Its latency moves by a few per cent
from night to night, and the clock, the session and the commit are the night's. The same arguments write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path

from suite.history import CELLS, COMMITTED, latest, read_folder
from suite.records import Measurement, Status

BOARD = "cpu-synthetic-000000"
SESSION, TIME, COMMIT, RECIPE = "@session@", "@time@", "@commit@", "@recipe@"
BEGIN = datetime(2021, 1, 1, tzinfo=timezone.utc)
LEVELS = [0.97 + 0.002 * n for n in range(31)]  # of latency, as shares of the committed one
SPREAD = 0.01  # of a night's latency


def templates(prompts: int) -> list[dict]:
    """The committed records that ended well and have all figures, with so many of their prompts."""
    found = [
        m
        for m in latest(read_folder(COMMITTED, set_aside=False).measurements)
        if m.status == Status.OK and m.latency and m.memory and m.quality and m.reference and not m.extrapolated
    ]
    return [_with_prompts(m, prompts).model_dump(mode="json") for m in found]


def _with_prompts(m: Measurement, prompts: int) -> Measurement:
    outcomes = m.quality.outcomes[:prompts]
    if len(outcomes) < prompts or not outcomes:
        return m if outcomes else m.model_copy(update={"quality": None})
    return m.model_copy(update={"quality": m.quality.model_copy(update={"outcomes": outcomes})})


def write(folder: Path, records: int, files: int, prompts: int = 4, seed: int = 0) -> Iterator[Path]:
    """So many records in so many session files of one board, oldest first."""
    dice, cells = random.Random(seed), templates(prompts)
    rendered = lru_cache(maxsize=None)(lambda cell, level: _rendered(cells[cell], LEVELS[level]))
    (folder / BOARD).mkdir(parents=True, exist_ok=True)
    for night in range(files):
        measured = range(records * night // files, records * (night + 1) // files)
        own = measured.stop - measured.start
        session, time = f"night-{night:05}", BEGIN + timedelta(hours=20 * night)
        found = []
        for place in range(own):
            level = min(len(LEVELS) - 1, max(0, round(15 + dice.gauss(0, SPREAD / 0.002))))
            round_, cell = divmod(place, len(cells))
            text = rendered(cell, level).replace(RECIPE, "" if round_ == 0 else f"+copy-{round_}")
            found.append(text.replace(TIME, (time + timedelta(seconds=place)).isoformat(timespec="milliseconds")))
        benchmarks = ", ".join(_benchmark(text) for text in found)
        cells_ = ", ".join(found)
        text = f'{{"machine_info": {{"node": "synthetic"}}, "benchmarks": [{benchmarks}], "{CELLS}": [{cells_}]}}'
        path = folder / BOARD / f"{night + 1:04}_{session}.json"
        path.write_text(text.replace(SESSION, session).replace(COMMIT, f"{night:040x}"), encoding="utf-8")
        yield path


def _rendered(cell: dict, level: float) -> str:
    """A cell's JSON, with marks where the night's own names go."""
    latency = cell["latency"]
    scaled = latency | {
        "samples_s": [level * s for s in latency["samples_s"]],
        "stage_samples_s": {stage: [level * s for s in its] for stage, its in latency["stage_samples_s"].items()},
        "median": {end: value and level * value for end, value in latency["median"].items()},
    }
    recipe, device = cell["configuration"].split("@")
    own = {
        "configuration": f"{recipe}{RECIPE}@{device}",
        "optimization": cell["optimization"] + RECIPE,
        "board": BOARD,
        "session": SESSION,
        "measured_at": TIME,
        "commit": COMMIT,
        "latency": scaled,
        "fingerprint": cell["fingerprint"] | {"board": BOARD},
        "artefacts": {},
    }
    return json.dumps(cell | own, indent=1)


def _benchmark(cell: str) -> str:
    return f'{{"group": null, "name": "test_configuration", "stats": {{}}, "extra_info": {{"measurement": {cell}}}}}'


def published(folder: Path, rows: int) -> Path:
    """A published table of so many rows on one board, made from the committed ones; their figures are drawn anew."""
    from leaderboards.rows import load_published

    dice = random.Random(0)
    ranked = [row for row in load_published() if row.on_frontier is not None and row.kind == "mesh"]
    found = []
    for n in range(rows):
        row = ranked[n % len(ranked)]
        factor, share = dice.lognormvariate(0, 1), dice.betavariate(8, 2)
        ends = {f"latency{end}_s": factor * getattr(row, f"latency{end}_s") for end in ("", "_low", "_high")}
        recipe = f"{row.optimization}+copy-{n}"
        own = {
            "configuration": f"{row.model}/{recipe}@{row.device}",
            "optimization": recipe,
            "board": BOARD,
            "peak_memory_bytes": int(row.peak_memory_bytes * dice.lognormvariate(0, 0.3)),
            "r_precision": share,
            "r_precision_low": max(share - 0.05, 0.01),
            "r_precision_high": min(share + 0.05, 1.0),
            "on_frontier": n % 50 == 0,
        }
        found.append(row.model_dump(mode="json") | ends | own)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cpu.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="OUT")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=4, help="scored a record, 0 to 153 (default: %(default)s)")
    options = parser.parse_args()
    paths = list(write(options.folder, options.records, options.files, options.prompts))
    print(f"{len(paths)} files, {sum(path.stat().st_size for path in paths) / 1e6:,.0f} MB in {options.folder}")


if __name__ == "__main__":
    main()
