"""A comparison in words, and how far it is."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from suite.confirm.records import Compared, Confirmed
from suite.records import Interval, Verdict

TITLES = {"latency_s": "latency", "peak_memory_bytes": "peak memory"}
STOPS = {
    "precision": "as precise as asked",
    "decided": "the verdict was sure",
    "time": "the time was up",
    "failed": "it could not go on",
}
ADVICE = {
    "precision": ", and too near the tolerance: a smaller --precision tells",
    "time": "; --time-limit allows more",
}
STAGE_CHANGE = 0.02  # a stage that differs by more is named


def said(ratio: Interval) -> str:
    """A ratio with its interval."""
    ends = "" if ratio.low is None else f" (×{ratio.low:.3f} to ×{ratio.high:.3f})"
    return f"×{ratio.value:.3f}{ends}"


def lines_of(found: Confirmed) -> list[str]:
    """The verdict first, then a line a quantity and a remark."""
    lines = [f"{found.configuration}: {found.verdict.value}"]
    lines += [_line_of(one) for one in found.compared if one.ratio is not None]
    if found.pairs:
        lines.append(f"{found.pairs} pairs of processes, {found.turns} turns, {found.elapsed_s:.0f} s")
        lines[-1] += f": {STOPS[found.stop_reason]}"
        if found.verdict == Verdict.UNCERTAIN:
            lines[-1] += ADVICE.get(found.stop_reason, "")
    if found.reason is not None:
        lines.append(found.reason)
    elif not found.pairs:
        lines.append(f"no pair of processes was done in {found.elapsed_s:.0f} s: --time-limit allows more")
    changed = {stage: ratio for stage, ratio in found.stage_ratios.items() if abs(ratio - 1) > STAGE_CHANGE}
    if changed and found.verdict in (Verdict.REGRESSED, Verdict.IMPROVED):
        lines.append("stages: " + ", ".join(f"{stage} ×{ratio:.3f}" for stage, ratio in changed.items()))
    if found.weights_differ:
        lines.append("the two commits have other weights")
    return lines


def _line_of(one: Compared) -> str:
    scale, unit = (1e3, "ms") if one.quantity == "latency_s" else (1e-6, "MB")
    return (
        f"{TITLES[one.quantity]} {said(one.ratio)}, tolerance ±{one.tolerance:.1%}: "
        f"{scale * one.head:.4g} {unit}, base {scale * one.base:.4g} {unit}"
    )


@contextlib.contextmanager
def live(title: str) -> Iterator[Callable[[int, Interval], None]]:
    """A line on the terminal that says how far it is; none where stderr is no terminal."""
    shown, started = sys.stderr.isatty(), time.monotonic()

    def show(text: str) -> None:
        if shown:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    show(f"{title}: first pair")
    try:
        yield lambda pairs, ratio: show(f"{title}: {pairs} pairs, {time.monotonic() - started:.0f} s, {said(ratio)}")
    finally:
        show("")
