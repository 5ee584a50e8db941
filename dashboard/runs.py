"""The measurements that rows were made of, for what rows leave out: outcomes prompt by prompt, and all earlier runs.

Only looks: it sets no broken file aside; `python -m leaderboards publish` does that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from leaderboards.frontier import Key, key
from suite import history
from suite.history import MACHINE_FILE, History
from suite.index.reading import read_indexed
from suite.records import Measurement, PublishedRow, Quality

VARIABLE = "TEXT3D_HISTORY"  # another folder of runs than the committed and the local ones, for trials


def folders() -> list[Path]:
    named = os.environ.get(VARIABLE)
    return [Path(named)] if named else [history.COMMITTED, history.LOCAL]


def stamp(of: Iterable[Path]) -> str:
    """Twelve hex digits that change with any file of runs below these folders."""
    seen = []
    for folder in of:
        for path in sorted([*folder.rglob("*.json"), *folder.rglob(MACHINE_FILE)]):
            try:
                facts = path.stat()
            except OSError:  # gone since it was listed
                continue
            seen.append(f"{path}:{facts.st_size}:{facts.st_mtime_ns}")
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:12]


def read_all(of: Iterable[Path]) -> History:
    """Every measurement below these folders; a line for each file that cannot be read."""
    found = History()
    for folder in of:
        if folder.is_dir():
            found.extend(read_indexed(folder, set_aside=False))
    return found


def measurements_of(rows: Iterable[PublishedRow], folders: Iterable[Path]) -> dict[Key, Measurement]:
    """By row key; a row whose run is not at hand is left out."""
    wanted = {(key(row), row.measured_at) for row in rows if row.measured_at is not None}
    found: dict[Key, Measurement] = {}
    for m in read_all(folders).measurements:
        if (key(m), m.measured_at) in wanted:
            found.setdefault(key(m), m)
    return found


def qualities(measurements: Mapping[Key, Measurement]) -> dict[Key, Quality]:
    return {name: measurement.quality for name, measurement in measurements.items() if measurement.quality is not None}
