"""A session's measurements as lines for a person: one as each cell ends, and a table of all at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from suite.judging.latency_units import speedup
from suite.judging.paired_quality import change, hit_pairs
from suite.records import Interval, Measurement, Quality, Status

GAP = "  "


def table(measurements: Mapping[str, Measurement]) -> list[str]:
    """One line a cell: latency, speed-up, memory, quality, or why there is none. By configuration id."""
    original = any(m.speedup_vs_original is not None for m in measurements.values())
    heads = ["configuration", "latency", "speed-up", "peak memory", "first of 153", "against fp32, in pairs"]
    rows = {name: figures(m, reference_quality(m, measurements)) for name, m in measurements.items()}
    if original:
        heads.append("of original")
        for name, m in measurements.items():
            rows[name].append("-" if m.speedup_vs_original is None else f"×{m.speedup_vs_original.value:.2f}")
    cells = [[name, *row] for name, row in rows.items() if measurements[name].status == Status.OK]
    widths = [max(map(len, column)) for column in zip(heads, *cells)]
    width = max([widths[0], *(len(name) for name in measurements)])
    lines = [_aligned(heads, [width, *widths[1:]])]
    for name, m in measurements.items():
        if m.status == Status.OK:
            lines.append(_aligned([name, *rows[name]], [width, *widths[1:]]))
        else:
            lines.append(f"{name:{width}}{GAP}{m.status.value}: {m.reason}")
    if any(m.extrapolated and m.status == Status.OK for m in measurements.values()):
        lines.append("≈ extrapolated from a few network evaluations (docs/measuring.md)")
    every = measurements.values()
    return lines + reference_notes(every) + disturbed_notes(every) + borrowed_notes(every)


def line(measurement: Measurement, reference: Quality | None) -> str:
    """One finished cell."""
    m = measurement
    if m.status != Status.OK:
        return f"{m.configuration}{GAP}{m.status.value}: {m.reason}"
    return GAP.join([m.configuration, *(text for text in figures(m, reference) if text != "-")])


def figures(m: Measurement, reference: Quality | None) -> list[str]:
    """Latency, speed-up, peak memory, first of 153, the paired difference; "-" for what is not known."""
    latency = "-" if m.latency is None else seconds(m.latency.median)
    times = speedup(m)
    speed = "-" if times is None or times == 1 else f"×{times:.2f}"
    memory = "-" if m.memory is None else f"{m.memory.peak_memory_bytes / 1e6:.1f} MB"
    return [
        f"≈ {latency}" if m.extrapolated and m.latency is not None else latency,
        speed,
        memory,
        *_quality(m, reference),
    ]


def _quality(m: Measurement, reference: Quality | None) -> tuple[str, str]:
    if m.quality is None:
        return "-", "-"
    found, prompts = m.quality.r_precision, len(m.quality.outcomes)
    here = prompts if m.quality.borrowed is None else m.quality.borrowed.scored_here
    scored = "" if here == prompts else f", {here} here"
    starts = "" if m.quality.starts == 1 else f" x {m.quality.starts}"
    first = f"{found.value:.1%} ({found.low:.0%} to {found.high:.0%}) of {prompts}{starts}{scored}"
    pairs = [] if reference is None else hit_pairs(m.quality, reference)
    if not pairs:
        return first, "-"
    moved = change(m.quality, reference)
    ends = f"({100 * moved.low:+.1f} to {100 * moved.high:+.1f})"
    return first, f"{100 * moved.value:+.1f} points {ends} on {len(pairs)}{_known(m.quality)}"


def _known(quality: Quality) -> str:
    """What scoring was decided by, where it ended when it knew."""
    return "" if quality.stopped is None or quality.stopped.verdict is None else f": {quality.stopped.verdict}"


def reference_quality(m: Measurement, measurements: Mapping[str, Measurement]) -> Quality | None:
    """The quality of the reference that its latency was held against, in the same session."""
    if m.reference is None or m.reference.configuration == m.configuration:
        return None
    reference = measurements.get(m.reference.configuration)
    return None if reference is None else reference.quality


def seconds(interval: Interval) -> str:
    """A time with half the width of its interval, in milliseconds where it is short."""
    scale, unit = (1000, "ms") if interval.value < 0.1 else (1, "s")
    half = "" if interval.high is None else f" ±{(interval.high - interval.low) / 2 * scale:.2g}"
    return f"{interval.value * scale:.4g}{half} {unit}"


def reference_notes(measurements: Iterable[Measurement]) -> list[str]:
    """A line for each reference that was timed more than once: how far the machine's speed moved meanwhile."""
    timed: dict[str, dict[str, Interval]] = defaultdict(dict)
    for m in measurements:
        if m.reference is not None:
            timed[m.reference.configuration][m.reference.measured_at] = m.reference.latency
    lines = []
    for name, by_time in timed.items():
        if len(by_time) > 1:
            low, high = (pick(by_time.values(), key=lambda latency: latency.value) for pick in (min, max))
            ends = f"{seconds(low)} to {seconds(high)}"
            lines.append(f"{name} took {ends} in {len(by_time)} timings: each speed-up is to the one beside its cell")
    return lines


def disturbed_notes(measurements: Iterable[Measurement]) -> list[str]:
    """A line for each cell some of whose samples were disturbed: how many were replaced, and how many could not be."""
    lines = []
    for m in measurements:
        if m.latency is None or not (m.latency.set_aside or m.latency.disturbed):
            continue
        kept = len(m.latency.samples_s)
        why = f": {m.latency.set_aside[-1].why}" if m.latency.set_aside else ""
        quiet = f", never quiet: {len(m.latency.disturbed)} of {kept} kept are disturbed" if m.latency.disturbed else ""
        lines.append(f"{m.configuration}: {len(m.latency.set_aside)} disturbed samples set aside{quiet}{why}")
    return lines


def borrowed_notes(measurements: Iterable[Measurement]) -> list[str]:
    """Which outcomes come from a committed session, and which few prompts did not agree with one."""
    scored = [m.quality for m in measurements if m.quality is not None]
    sessions = sorted({q.borrowed.session for q in scored if q.borrowed is not None})
    count = sum(q.borrowed is not None for q in scored)
    told = (
        f"{count} slow cells scored a few prompts here. Each came out as in the committed history, so its other "
        f"outcomes are those of session {' and '.join(sessions)}; --outcomes measured scores all."
    )
    return ([told] if count else []) + [warning for q in scored for warning in q.warnings]


def _aligned(texts: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(text.ljust(width) for text, width in zip(texts, widths)).rstrip()
