"""A row's figures as text for people: units and intervals shown, percent, a dash for what is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from leaderboards.frontier import too_few_prompts, why_unranked
from suite.records import PublishedRow, SecondOpinion, Verdict

DASH = "–"
MINUS = "−"
# What a row's neighbours decide.
OTHER_CONDITIONS = "measured under other conditions than most rows here"
LIKE_AMONG_LIKE = "too few prompts: smoke runs are ranked only among their like, where there is no full run"
STOPPED = {  # by `quality_verdict`: scoring that ends when it knows (docs/measuring.md)
    "non-inferior": "scored until non-inferior to its reference",
    "inferior": "scored until inferior to its reference",
    "open": "scored until the time was over",
}
SAID_ANYHOW = ("simulated", "extrapolated", "random weights")  # reasons that the notes say in other words


def plain_seconds(value: float, like: float | None = None) -> str:
    """Three digits or so; the ends of an interval get as many decimals as the value they belong to."""
    scale = value if like is None else like
    digits = next((digits for digits, least in enumerate((100, 10, 1, 0.1, 0.01)) if scale >= least), 5)
    return f"{value:,.{digits}f}"


def time(value: float) -> str:
    """With its unit: milliseconds where a person would say so."""
    scale, unit = _time_unit(value)
    return f"{plain_seconds(value * scale)} {unit}"


def _time_unit(value: float) -> tuple[int, str]:
    return (1000, "ms") if value < 0.1 else (1, "s")


def plain_bytes(value: float) -> str:
    return f"{value / 1e9:,.2f} GB" if value >= 1e9 else f"{value / 1e6:,.1f} MB"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _signed_points(value: float) -> str:
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", MINUS)


def _with_interval(value, low, high, text: Callable[[float], str], unit: str) -> str:
    if value is None:
        return DASH
    interval = f" ({text(low)} to {text(high)})" if low is not None and high is not None else ""
    return f"{text(value)}{unit}{interval}"


def latency(row: PublishedRow) -> str:
    """With its interval; "≈" where it is extrapolated, which the notes say in words."""

    scale, unit = _time_unit(row.latency_s or 1.0)

    def text(value: float) -> str:
        return plain_seconds(scale * value, like=scale * row.latency_s)

    shown = _with_interval(row.latency_s, row.latency_low_s, row.latency_high_s, text, f" {unit}")
    shown = f"≈ {shown}" if row.extrapolated and row.latency_s is not None else shown
    if row.latency_s is None or row.latency_s < 100:
        return shown
    return shown + (f" = {row.latency_s / 3600:.3g} h" if row.latency_s >= 7200 else f" = {row.latency_s / 60:.3g} min")


def memory(row: PublishedRow) -> str:
    return DASH if row.peak_memory_bytes is None else plain_bytes(row.peak_memory_bytes)


def r_precision(row: PublishedRow) -> str:
    return _with_interval(row.r_precision, row.r_precision_low, row.r_precision_high, _percent, " %")


def r_precision_3001(row: PublishedRow) -> str:
    return _with_interval(row.r_precision_3001, None, None, _percent, " %")


def quality_on(row: PublishedRow, axis: str) -> str:
    """The figure of an axis of `leaderboards.axes`."""
    return {"r_precision": r_precision, "r_precision_3001": r_precision_3001, "f_score_to_fp32": to_fp32}[axis](row)


def worst_view(row: PublishedRow) -> str:
    return _with_interval(row.worst_view, row.worst_view_low, row.worst_view_high, _percent, " %")


def to_fp32(row: PublishedRow) -> str:
    """The F-score to fp32's objects from the same noise."""
    return _with_interval(row.f_score_to_fp32, row.f_score_to_fp32_low, row.f_score_to_fp32_high, _percent, " %")


def attributes(row: PublishedRow) -> str:
    """What is kept of the prompt, the least first: "shape 58, colour 97, size 98, relation 100 %"."""
    shares = sorted(row.attributes.items(), key=lambda item: item[1].value)
    return ", ".join(f"{name} {100 * share.value:.0f}" for name, share in shares) + " %" if shares else DASH


def meshes(row: PublishedRow) -> str:
    """A gate: "88 % watertight, 2 parts, 0.1 % of faces degenerate"."""
    gate = row.meshes
    if gate is None:
        return DASH
    said = [f"{100 * gate.watertight.value:.0f} % watertight", f"{gate.components:g} parts"]
    said += [f"{100 * gate.degenerate_faces:.2g} % of faces degenerate"] if gate.degenerate_faces else []
    return ", ".join(said)


def second_r_precision(row: PublishedRow) -> str:
    """By the second judge, on the objects that both were shown."""
    if row.second_opinion is None:
        return DASH
    share = row.second_opinion.r_precision
    return _with_interval(share.value, share.low, share.high, _percent, " %")


def agreement(found: SecondOpinion) -> str:
    """On how many objects two judges say the same: "94.8 % of 153"."""
    return f"{_percent(found.agreement)} % of {found.objects:,}"


def second_opinion(row: PublishedRow) -> str:
    """ "96.1 % (91.7 to 98.2), agree on 94.8 % of 153" """
    if row.second_opinion is None:
        return DASH
    return f"{second_r_precision(row)}, agree on {agreement(row.second_opinion)}"


def quality_difference(row: PublishedRow) -> str:
    low, high = row.quality_difference_low, row.quality_difference_high
    return _with_interval(row.quality_difference, low, high, _signed_points, " points")


def times(value: float | None) -> str:
    return DASH if value is None else f"×{value:.2f}"


def reference_latency(row: PublishedRow) -> float | None:
    """Seconds of the reference in the row's own session; told from the ratio in tables of before it was kept."""
    if row.reference_latency_s is not None or row.speedup is None or row.latency_s is None:
        return row.reference_latency_s
    return row.speedup * row.latency_s


def speedup(row: PublishedRow) -> str:
    """With what it is taken to: "×3.10 of 2.10 s"."""
    of = reference_latency(row)
    return times(row.speedup) if of is None or row.speedup is None else f"{times(row.speedup)} of {time(of)}"


def sessions(rows: Iterable[PublishedRow]) -> str | None:
    """What to say where a table's rows come from several sessions; None where they come from one, or none says so."""
    count = len({row.session for row in rows if row.session is not None and row.speedup is not None})
    if count < 2:
        return None
    return (
        f"Rows of {count} sessions, between which the machine's speed may differ: each speed-up is to the fp32 of its "
        "own session, whose seconds stand beside it, and not to the fp32 row of this table."
    )


def against_original(row: PublishedRow) -> str:
    """The original's own is 1 by definition, and published ones come without an interval."""
    low, high = row.speedup_vs_original_low, row.speedup_vs_original_high
    shown = times(row.speedup_vs_original)
    return shown if low is None or high is None or low == high else f"{shown} ({low:.2f} to {high:.2f})"


def over_floor(row: PublishedRow) -> str:
    """The latency over what the machine's peak allows at least."""
    return DASH if row.latency_s is None or not row.floor_s else times(row.latency_s / row.floor_s)


def energy(row: PublishedRow) -> str:
    return DASH if row.energy_j is None else f"{row.energy_j:,.1f} J"


def chamfer(row: PublishedRow) -> str:
    return DASH if row.chamfer is None else f"{row.chamfer:.4g}"


def diversity(row: PublishedRow) -> str:
    """How far apart two objects of one prompt are."""
    return _with_interval(row.diversity, row.diversity_low, row.diversity_high, lambda value: f"{value:.3g}", "")


def mark(row: PublishedRow) -> str:
    """★ on the frontier; a row that is not ranked has a dash, a beaten one nothing."""
    return {True: "★", False: "", None: DASH}[row.on_frontier]


def budgets(row: PublishedRow) -> str:
    """The budgets that were not kept by name, else how many were."""
    if not row.verdicts:
        return DASH
    bad = [
        f"{name} {v.value}" for name, v in sorted(row.verdicts.items()) if v in (Verdict.OVER_BUDGET, Verdict.REGRESSED)
    ]
    return ", ".join(bad) or f"{len(row.verdicts)} kept"


def why_not_ranked(row: PublishedRow, axis: str = "r_precision") -> str | None:
    """Why a measured row has no place on its board's frontier, where quality is that axis; None for one that has, and
    for figures of others."""
    if row.on_frontier is not None or row.source != "measured":
        return None
    return why_unranked(row, axis) or (LIKE_AMONG_LIKE if too_few_prompts(row) else OTHER_CONDITIONS)


def notes(row: PublishedRow, axis: str = "r_precision") -> str:
    """What a reader must know before using the figures."""
    said = [f"{row.weights} weights"] if row.weights not in (None, "embedded") else []
    said += ["simulated arithmetic: no latency"] if row.simulated else []
    said += ["extrapolated"] if row.extrapolated else []
    if row.outcomes_from is not None:
        said += [
            f"{row.prompts_scored_here} of {row.prompts} prompts scored here, the others as in {row.outcomes_from}"
        ]
    else:
        said += ["smoke run"] if row.smoke else []
    said += [f"{row.prompts} prompts"] if row.prompts is not None and row.prompts != 153 else []
    said += [f"{row.starts} starts a prompt"] if row.starts is not None and row.starts > 1 else []
    said += [STOPPED[row.quality_verdict]] if row.quality_verdict is not None else []
    reason = why_not_ranked(row, axis)
    said += [] if reason is None or reason in SAID_ANYHOW else [f"not ranked: {reason}"]
    return "; ".join(said) or DASH


def rank(row: PublishedRow) -> str:
    """By quality within its kind, with its interval: "3 (1 to 9)"."""
    return DASH if row.rank is None else f"{row.rank} ({row.rank_low} to {row.rank_high})"


def tie_band(row: PublishedRow) -> str:
    return DASH if row.tie_band is None else str(row.tie_band)


def frontier_probability(row: PublishedRow) -> str:
    return DASH if row.frontier_probability is None else f"{100 * row.frontier_probability:.0f} %"


def date(row: PublishedRow) -> str:
    return DASH if row.measured_at is None else row.measured_at[:10]


def commit(row: PublishedRow) -> str:
    return DASH if row.commit is None else row.commit[:8]


@dataclass(frozen=True)
class Column:
    title: str
    text: Callable[[PublishedRow], str]
    optional: bool = False  # left out where no row has a figure


def columns(rows: list[PublishedRow], wanted: list[Column]) -> list[Column]:
    return [column for column in wanted if not column.optional or any(column.text(row) != DASH for row in rows)]


def best_first(rows: list[PublishedRow]) -> list[PublishedRow]:
    """Frontier first, then by R-Precision, then by latency; not a rank, since neighbours may be tied."""
    return sorted(
        rows,
        key=lambda r: (
            r.on_frontier is not True,
            r.on_frontier is None,
            -(r.r_precision if r.r_precision is not None else -1),
            float("inf") if r.latency_s is None else r.latency_s,
            r.configuration,
            r.weights or "",
        ),
    )
