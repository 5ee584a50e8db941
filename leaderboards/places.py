"""The places of a board's rows, written into them: layer, rank with its interval, tie band, chance of the frontier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from leaderboards import ranking
from leaderboards.dominance import hit_matrix, tie_bands
from leaderboards.frontier import candidate, comparable, key
from leaderboards.kinds import by_kind
from leaderboards.ranking import Sampled
from suite.records import GALLERY_SIZE, Measurement, PublishedRow


def with_places(rows: Iterable[PublishedRow], measurements: Iterable[Measurement]) -> list[PublishedRow]:
    """The rows, those that are ranked with their places among their kind. Shares are averaged over prompts that all of
    them were asked: a row that lacks some of those that most rows were asked has no place."""
    rows = list(rows)
    runs = {(key(m), m.measured_at): m for m in measurements}
    found: dict[int, dict] = {}
    numbers = {id(row): n for n, row in enumerate(rows)}
    for group in comparable(row for row in rows if row.on_frontier is not None).values():
        for alike in by_kind(group).values():
            for row, place in zip(alike, _places(alike, [runs.get((key(r), r.measured_at)) for r in alike])):
                found[numbers[id(row)]] = place
    return [row.model_copy(update=found.get(n, {})) for n, row in enumerate(rows)]


def _places(rows: Sequence[PublishedRow], runs: Sequence[Measurement | None]) -> list[dict]:
    """The fields of each row; none where its run is not at hand."""
    asked = [_prompts(run) for run in runs]
    most = _prompts_of_most(asked)
    chosen = [n for n, prompts in enumerate(asked) if most and most <= prompts]
    if not chosen:
        return [{} for _ in rows]
    hits, scored = hit_matrix([runs[n].quality for n in chosen])
    hits = hits[:, scored.all(axis=0)]
    sampled = [
        Sampled(runs[n].latency.samples_s, runs[n].session, rows[n].peak_memory_bytes, line)
        for n, line in zip(chosen, hits)
    ]
    points = np.array([(rows[n].latency_s, rows[n].peak_memory_bytes, line.mean()) for n, line in zip(chosen, hits)])
    placed = ranking.places(sampled, ranking.drift(_references(rows)))
    bands = tie_bands([candidate(rows[n], runs[n].quality) for n in chosen])
    fields: list[dict] = [{} for _ in rows]
    for n, place, layer, band in zip(chosen, placed, ranking.layers(points), bands, strict=True):
        fields[n] = vars(place) | {"layer": int(layer), "tie_band": band}
    return fields


def _prompts_of_most(asked: Sequence[frozenset[str]]) -> frozenset[str]:
    """The prompts by which rows are compared: a full set that most rows were asked, some with more (scoring that ends
    when it knows leaves each row with prompts of its own); of several the largest. Smaller sets where none is full."""
    known = {prompts for prompts in asked if prompts}
    full = {prompts for prompts in known if len(prompts) >= GALLERY_SIZE} or known
    covers = {prompts: sum(prompts <= other for other in asked) for prompts in full}
    return max(full, key=lambda prompts: (covers[prompts], len(prompts)), default=frozenset())


def _prompts(run: Measurement | None) -> frozenset[str]:
    return frozenset(o.prompt for o in run.quality.outcomes) if run and run.quality and run.latency else frozenset()


def _references(rows: Iterable[PublishedRow]) -> list[tuple[str, str, float]]:
    known = [row for row in rows if row.session is not None and row.reference_latency_s is not None]
    return [(row.model, row.session, row.reference_latency_s) for row in known]


def balanced_pick(rows: Sequence[PublishedRow]) -> PublishedRow | None:
    """Of rows of one kind, the one on the frontier that is nearest to the best in all three."""
    kept = [row for row in rows if row.on_frontier]
    return kept[ranking.balanced(_points(kept))] if kept else None


def hypervolume(rows: Sequence[PublishedRow], kind: str) -> float | None:
    """What the frontier of rows of one kind covers: `leaderboards.ranking.hypervolume`."""
    kept = [row for row in rows if row.on_frontier]
    return ranking.hypervolume(_points(kept), kind) if kept else None


def _points(rows: Sequence[PublishedRow]) -> np.ndarray:
    return np.array([(row.latency_s, row.peak_memory_bytes, row.r_precision) for row in rows], dtype=float)


def summary(rows: Sequence[PublishedRow], kind: str) -> str | None:
    """A line below the frontier of one kind."""
    pick = balanced_pick(rows)
    if pick is None:
        return None
    covered = hypervolume(rows, kind)
    said = f"balanced pick: {pick.configuration}"
    return said if covered is None else f"{said}; hypervolume {covered:.3f} (reference {ranking.REFERENCE_VERSION})"
