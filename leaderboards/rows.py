"""Measurements turned into the published rows, and published rows read back."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from leaderboards.frontier import candidate, frontier, key, taking_part
from leaderboards.kinds import kind_of
from leaderboards.literature import literature_rows  # noqa: F401
from suite.catalogue.models import MODELS
from suite.catalogue.optimizations import OPTIMIZATIONS, REFERENCE
from suite.configurations import UnknownName, find
from suite.history import latest, parse
from suite.judging.intervals import inverse
from suite.judging.latency_units import relative_latency
from suite.judging.paired_quality import attribute_differences, change, hit_pairs
from suite.judging.scores import ATTRIBUTES
from suite.records import (
    NOT_RUN,
    SCHEMA_VERSION,
    Interval,
    Measurement,
    MeshGate,
    PublishedRow,
    Quality,
    Record,
    SecondOpinion,
    Status,
    Verdict,
    first_error,
)

PUBLISHED = Path(__file__).parent / "published"
# Fields with fields of their own, and those that have an interval an attribute.
PARTS = {"meshes": MeshGate, "watertight": Interval, "second_opinion": SecondOpinion, "r_precision": Interval}
ROWS = TypeAdapter(list[PublishedRow])
BY_ATTRIBUTE = frozenset(("attributes", "attribute_differences"))


class MalformedRows(ValueError):
    """A published file is not a list of rows; names the file, the row and the field."""


def measured_rows(
    measurements: Iterable[Measurement], newest: Sequence[Measurement] | None = None
) -> list[PublishedRow]:
    """One row a configuration, board and kind of weights: the newest measurement, even failed, ranked on its board.
    newest: what `shown` has of them, where that is known."""
    measurements = list(measurements)
    chosen = shown(measurements) if newest is None else newest
    references = _references(measurements)
    return _ranked(chosen, [_row(m, _reference_quality(m, references)) for m in chosen])


def shown(measurements: Iterable[Measurement]) -> list[Measurement]:
    """The measurements that have a row, in the order of the catalogues."""
    newest = latest(measurements)
    ran = {(m.configuration, m.board) for m in newest if m.status not in NOT_RUN}
    # Not run means no kind of weights, hence a key of its own in `latest`: it must not stand beside what did run.
    kept = [m for m in newest if m.status not in NOT_RUN or (m.configuration, m.board) not in ran]
    models, optimizations = _positions(MODELS), _positions(OPTIMIZATIONS)
    return sorted(
        (m for m in kept if m.status != Status.NOT_HERE),
        key=lambda m: (
            m.device,
            m.board or "",
            models[m.model],
            m.model,
            optimizations[m.optimization],
            m.optimization,
            m.weights or "",
        ),
    )


def _positions(names: Iterable[str]) -> defaultdict[str, int]:
    """Position of each name; names that left the catalogue come last."""
    order = list(names)
    return defaultdict(lambda: len(order), {name: n for n, name in enumerate(order)})


def _row(m: Measurement, reference: Quality | None) -> PublishedRow:
    """reference: the quality that this one's is held against in pairs."""
    # Imitated arithmetic takes its own time and energy, not the recipe's.
    latency = None if m.simulated or m.latency is None else m.latency.median
    energy = None if m.simulated or m.energy is None else m.energy.energy_j
    quality = m.quality
    return PublishedRow(
        protocol=m.protocol,
        configuration=m.configuration,
        model=m.model,
        optimization=m.optimization,
        device=m.device,
        board=m.board,
        source="measured",
        status=m.status,
        reason=m.reason,
        weights=m.weights,
        output=m.output,
        kind=None if m.output is None else kind_of(m.configuration, m.output),
        session=m.session,
        **_interval("latency{}_s", latency),
        stage_latency_s={} if latency is None else _medians(m.latency.stage_samples_s),
        extra_stage_latency_s={} if m.simulated else _medians(m.extra_stage_samples_s),
        peak_memory_bytes=m.memory and m.memory.peak_memory_bytes,
        process_peak_memory_bytes=m.memory and m.memory.process_peak_memory_bytes,
        stage_peak_memory_bytes=m.memory.stage_peak_memory_bytes if m.memory else {},
        **_cost(m, timed=latency is not None),
        energy_j=_finite(energy),
        **_interval("r_precision{}", quality and quality.r_precision),
        **_interval("r_precision_3001{}", quality and quality.r_precision_3001),
        chamfer=quality and quality.chamfer and _finite(quality.chamfer.value),
        chamfer_to_fp32=quality and quality.chamfer_to_fp32 and quality.chamfer_to_fp32.value,
        **_interval("f_score_to_fp32{}", quality and quality.f_score_to_fp32),
        **_interval("worst_view{}", quality and quality.worst_view),
        attributes=quality.attributes if quality else {},
        attribute_differences=attribute_differences(quality, reference) if reference else {},
        meshes=quality and quality.meshes,
        **_interval("diversity{}", quality and quality.diversity),
        second_opinion=quality and quality.second_opinion,
        prompts=quality.prompts if quality else None,
        starts=quality.starts if quality else None,
        quality_verdict=quality and quality.stopped and quality.stopped.verdict,
        **_scored_here(quality),
        judge=quality and quality.judge,
        gallery_sha256=m.fingerprint.gallery_sha256 if quality and m.fingerprint else None,
        **({} if latency is None or m.reference is None else _against_reference(m)),
        **_interval("speedup_vs_original{}", None if latency is None else m.speedup_vs_original),
        **_interval("quality_difference{}", _difference(quality, reference)),
        extrapolated=m.extrapolated,
        simulated=m.simulated,
        smoke=m.smoke,
        verdicts=m.verdicts,
        fingerprint_id=m.fingerprint and m.fingerprint.id,
        measured_at=m.measured_at,
        commit=m.commit,
        artefacts=m.artefacts,
    )


def _scored_here(quality: Quality | None) -> dict[str, object]:
    """How many prompts this run scored itself, and where the outcomes of the others come from."""
    if quality is None:
        return {}
    if quality.borrowed is None:
        return {"prompts_scored_here": len(quality.outcomes)}
    return {"prompts_scored_here": quality.borrowed.scored_here, "outcomes_from": quality.borrowed.session}


def _cost(m: Measurement, timed: bool) -> dict[str, object]:
    """The cost fields. The whole has a floor where every stage that it was timed by has one."""
    if m.cost is None:
        return {}
    stages = m.cost.stages | m.cost.extra_stages
    ran = m.latency.stage_samples_s if timed else {}
    floors = [m.cost.stages[stage].floor_s if stage in m.cost.stages else None for stage in ran]
    return {
        "stage_parameters": {s: cost.parameters for s, cost in stages.items() if cost.parameters is not None},
        "stage_flops": {s: cost.total_flops for s, cost in stages.items()},
        "stage_bytes_moved": {s: cost.bytes_moved for s, cost in stages.items()},
        "stage_floor_s": {s: cost.floor_s for s, cost in stages.items() if cost.floor_s is not None},
        "floor_s": sum(floors) if floors and None not in floors else None,
        "peak_flops_per_s": m.cost.peak.flops_per_s,
        "peak_bytes_per_s": m.cost.peak.bytes_per_s,
    }


def _against_reference(m: Measurement) -> dict[str, object]:
    """The speed-up and what it is taken to."""
    return {
        **_interval("speedup{}", inverse(relative_latency(m))),
        "reference_latency_s": m.reference.latency.value,
        "reference_measured_at": m.reference.measured_at,
    }


def _medians(samples: dict[str, list[float]]) -> dict[str, float]:
    return {stage: median(values) for stage, values in samples.items() if values}


def _interval(pattern: str, interval: Interval | None) -> dict[str, float | None]:
    """A value and its two ends under their field names."""
    if interval is None:
        return {}
    ends = {"": interval.value, "_low": interval.low, "_high": interval.high}
    return {pattern.format(end): _finite(value) for end, value in ends.items()}


def _finite(value: float | None) -> float | None:
    """NaN and infinity are no JSON and mean "not known" here."""
    return value if value is not None and math.isfinite(value) else None


def _difference(quality: Quality | None, reference: Quality | None) -> Interval | None:
    """R-Precision minus the reference's, on the prompts of both."""
    if reference is None:
        return None
    return change(quality, reference)


def _references(measurements: Iterable[Measurement]) -> dict[tuple, dict[str, list[Measurement]]]:
    """Those that a difference of quality may be taken to, by model, device, board, weights and protocol; by session."""
    found: dict[tuple, dict[str, list[Measurement]]] = defaultdict(lambda: defaultdict(list))
    for m in measurements:
        if m.optimization == REFERENCE and m.status == Status.OK and m.quality is not None:
            found[_place(m)][m.session].append(m)
    return found


def _place(m: Measurement) -> tuple:
    return (m.model, m.device, m.board, m.weights, m.protocol)


def _reference_quality(
    m: Measurement, references: Mapping[tuple, Mapping[str, Sequence[Measurement]]]
) -> Quality | None:
    """The reference's quality that shares prompts with this one; None for the reference itself."""
    if m.quality is None or m.optimization == REFERENCE:
        return None
    # The same session's first, then the most prompts in common, then the newest.
    sessions = references.get(_place(m), {})
    rest = [other for session, its in sessions.items() if session != m.session for other in its]
    return _of_most_prompts(m, sessions.get(m.session, ())) or _of_most_prompts(m, rest)


def _of_most_prompts(m: Measurement, others: Iterable[Measurement]) -> Quality | None:
    """The one of most prompts in common, the newest of several; None where no prompt is."""
    best, most = None, (0, "")
    alike = [other for other in others if _same_judging(m, other)]
    for other in sorted(alike, key=lambda other: (other.quality.prompts, other.measured_at), reverse=True):
        if (other.quality.prompts, other.measured_at) <= most:
            break  # no other can have more in common
        rank = (len(hit_pairs(m.quality, other.quality)), other.measured_at)
        if rank[0] and rank > most:
            best, most = other.quality, rank
    return best


def _same_judging(m: Measurement, other: Measurement) -> bool:
    """Of one `_place`: scored by the same judge in the same gallery, with the same weights.

    Within a session other weights are a recipe's own (a student's), and are compared with the model's.
    """
    a, b = m.fingerprint, other.fingerprint
    gallery = (a and a.gallery_sha256) == (b and b.gallery_sha256)
    weights = m.session == other.session or (a and a.weights_sha256) == (b and b.weights_sha256)
    return gallery and weights and m.quality.judge == other.quality.judge


def _ranked(measurements: Sequence[Measurement], rows: Sequence[PublishedRow]) -> list[PublishedRow]:
    """The rows with `on_frontier` set: one frontier a board, gallery, judge and kind of output.

    Only measurements taken under the same conditions are ranked together: the whole fingerprint but the weights.
    Where a board has rows of several conditions, those that most rows share are ranked (the newest, when as many),
    so that a lone row measured under others does not look like a winner. Whether smoke runs are ranked is settled
    before, so that many of them never push a board's full rows aside.
    """
    candidates = [candidate(row, m.quality) for m, row in zip(measurements, rows)]
    boards: dict[tuple, list[int]] = {}
    for n, m in enumerate(measurements):
        if candidates[n] is not None:
            gallery = m.fingerprint and m.fingerprint.gallery_sha256
            boards.setdefault((m.device, m.board, gallery, m.quality.judge), []).append(n)
    marks: dict[int, bool | None] = {}
    for found in boards.values():
        conditions: dict[tuple, list[int]] = {}
        for n, part in zip(found, taking_part([candidates[n] for n in found])):
            if part:
                conditions.setdefault(_conditions(measurements[n]), []).append(n)
        members = max(
            conditions.values(), key=lambda group: (len(group), max(measurements[n].measured_at for n in group))
        )
        for kind in {rows[n].kind for n in members}:
            alike = [n for n in members if rows[n].kind == kind]
            marks.update(zip(alike, frontier([candidates[n] for n in alike])))
    return [row.model_copy(update={"on_frontier": marks.get(n)}) for n, row in enumerate(rows)]


def _conditions(m: Measurement) -> tuple:
    if m.fingerprint is None:
        return (m.protocol,)
    return (m.protocol, *sorted(m.fingerprint.model_dump(exclude={"id", "weights_sha256"}).items()))


def repeat_command(row: PublishedRow | Measurement) -> str:
    """The line that measures this cell again, or why there is none."""
    try:
        command = find(row.configuration).command
    except UnknownName:
        return f"{row.configuration} is no longer in the matrix"
    command += " --weights random" if row.weights == "random" else ""
    return command + (" --extrapolate always" if row.extrapolated and row.weights != "random" else "")


class Published(NamedTuple):
    """Published tables as they were read. newer: the files of a later version of the suite, whose fields may mean
    something else, or whose rows ended in a way that is not known here."""

    rows: list[PublishedRow]
    newer: list[str]


def read_published(folder: Path = PUBLISHED) -> Published:
    """All rows of a folder of published tables, validated; fields that are not known are ignored, as they may come at
    any time, and so are verdicts. A row with a status that is not known is left out. MalformedRows names file, row and
    field."""
    rows, newer = [], []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            text = path.read_bytes()
        except OSError as error:
            raise MalformedRows(f"{path}: {error}") from None
        found, later = _rows_of_today(text) or _tolerant_rows(path, text)
        rows += found
        newer += [path.name] if later else []
    return Published(rows, newer)


def load_published(folder: Path = PUBLISHED) -> list[PublishedRow]:
    return read_published(folder).rows


def _rows_of_today(text: bytes) -> tuple[list[PublishedRow], bool] | None:
    """Rows, and whether one says that it is of a later version; None where anything is not as we write it today."""
    try:
        rows = ROWS.validate_json(text)
    except ValidationError:
        return None
    return rows, any(row.schema_version > SCHEMA_VERSION for row in rows)


def _tolerant_rows(path: Path, text: bytes) -> tuple[list[PublishedRow], bool]:
    try:
        data = parse(text.decode("utf-8"))
    except ValueError as error:
        raise MalformedRows(f"{path}: {error}") from None
    if not isinstance(data, list):
        raise MalformedRows(f"{path}: expected a list of rows, got {type(data).__name__}")
    rows, later = [], False
    for number, item in enumerate(data):
        later |= _is_later(item)
        if _later_status(item):
            continue
        try:
            rows.append(PublishedRow.model_validate(_known(item)))
        except ValidationError as error:
            raise MalformedRows(f"{path}: row {number}: {first_error(error)}") from None
    return rows, later


def _is_later(item: object) -> bool:
    version = item.get("schema_version") if isinstance(item, dict) else None
    return _later_status(item) or (isinstance(version, int) and version > SCHEMA_VERSION)


def _later_status(item: object) -> bool:
    """Whether a row ended in a way that this version has no word for."""
    status = item.get("status") if isinstance(item, dict) else None
    return isinstance(status, str) and status not in {known.value for known in Status}


def _known(item: object, of: type[Record] = PublishedRow) -> object:
    """Without the fields that a later version has added, in the parts of a row neither."""
    if not isinstance(item, dict):
        return item
    found = {name: value for name, value in item.items() if name in of.model_fields}
    for name in PARTS.keys() & found.keys():
        found[name] = _known(found[name], PARTS[name])
    for name in BY_ATTRIBUTE & found.keys():
        if isinstance(found[name], dict):
            found[name] = {a: _known(part, Interval) for a, part in found[name].items() if a in ATTRIBUTES}
    if isinstance(verdicts := found.get("verdicts"), dict):
        known = {verdict.value for verdict in Verdict}
        found["verdicts"] = {name: v for name, v in verdicts.items() if not isinstance(v, str) or v in known}
    return found


def qualities(newest: Iterable[Measurement]) -> dict:
    """Outcomes a prompt of every row that has them, by `leaderboards.frontier.key`, from what `shown` has."""
    return {key(m): m.quality for m in newest if m.quality is not None}
