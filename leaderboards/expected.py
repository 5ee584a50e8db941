"""Predictions on the terminal and as JSON, and held against the truth: `python -m leaderboards predict`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from leaderboards import cells, markdown
from leaderboards.predicting import Case, Efficiency, Expected, efficiencies, efficiency, factor_off
from leaderboards.predictions import (
    DEFAULT,
    NOT_PREDICTED,
    Prediction,
    find_mode,
    has_peaks,
    known_cases,
    measured_cases,
    memory_cases,
    memory_off,
    modes,
    predict,
    predictions,
    published_cases,
)
from suite.catalogue.devices import find_device
from suite.catalogue.models import MODELS
from suite.catalogue.optimizations import REFERENCE
from suite.history import History, read_folder, read_session
from suite.names import UnknownName, unknown
from suite.records import Measurement, Status

NAMED = 4  # predictions that a sentence has room for
NEVER_RANKED = "Predicted, not measured; never ranked."
Table = Callable[[Sequence[str], Iterable[Sequence[str]]], str]


@dataclass(frozen=True)
class Held:
    """A measurement beside what was predicted of it."""

    configuration: str
    mode: str
    predicted: Prediction
    latency_s: float
    peak_memory_bytes: int | None

    @property
    def off(self) -> float:
        """Predicted over measured."""
        return self.predicted.latency_s.value / self.latency_s

    @property
    def inside(self) -> bool:
        return _inside(self.latency_s, self.predicted.latency_s)


def add_predict(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("predict", help="what a device should do that has measured nothing; never ranked")
    parser.add_argument("--device", default="orin", help="default: %(default)s")
    parser.add_argument(
        "--mode", help="a power mode, such as MAXN or 30W; default: all for fp32, the fastest for recipes"
    )
    parser.add_argument("--model", help="only this one, such as point-e-40m-text")
    parser.add_argument("--json", action="store_true", help="for programs: seconds, bytes, fractions")
    parser.add_argument("--markdown", action="store_true", help="as docs/predictions.md has it")
    parser.add_argument(
        "--check",
        type=Path,
        metavar="HISTORY",
        help="hold predictions against this session's file or folder of them; 1 when one lies outside its interval",
    )


def run(options: argparse.Namespace) -> int:
    if options.mode is not None:
        find_mode(options.device, options.mode)
    if options.check is not None:
        return _check(options)
    known = efficiencies(known_cases(without=options.device))
    if options.json:
        print(to_json(options.device, options.mode, options.model, known))
        return 0
    table = markdown.table if options.markdown else aligned
    print("\n\n".join(page(options.device, options.mode, options.model, known, table)))
    return 0


def page(device: str, mode: str | None, model: str | None, known: dict[str, Efficiency], table: Table) -> list[str]:
    """Paragraphs: what is known and how far off it is told, fp32 by mode, recipes in the order that they pay."""
    cases = known_cases(without=device)
    chosen = [mode] if mode is not None else list(modes(device))
    parts = [NEVER_RANKED, *known_words(cases, known, table), *own_published(device, table)]
    references = [p for m in chosen for p in predictions(device, m, model, known) if p.recipe == REFERENCE]
    parts += [f"fp32 on {device}, by power mode:", table(HEADS, [[p.mode, *line(p)] for p in references])]
    for name in [model] if model is not None else [name for name in MODELS if MODELS[name].full_size]:
        found = [p for p in predictions(device, chosen[0], name, known)]
        parts += [f"{name} on {device}, {chosen[0]}, fastest first:", table(HEADS, [[p.mode, *line(p)] for p in found])]
    parts.append("not predicted: " + "; ".join(f"{name} ({why})" for name, why in NOT_PREDICTED.items()))
    return parts


HEADS = ["mode", "configuration", "latency", "interval", "floor", "speed-up", "peak memory"]


def line(p: Prediction) -> list[str]:
    return [
        p.configuration.partition("@")[0],
        cells.time(p.latency_s.value),
        _ends(p.latency_s, cells.time),
        cells.time(p.floor_s),
        cells.times(p.speedup),
        cells.DASH
        if p.peak_memory_bytes is None
        else f"{cells.plain_bytes(p.peak_memory_bytes.value)} ({_ends(p.peak_memory_bytes, cells.plain_bytes)})",
    ]


def known_words(cases: Sequence[Case], known: dict[str, Efficiency], table: Table) -> list[str]:
    """Each case with its efficiency and how far off the other machines tell it, and what is taken from them."""
    lines = []
    for case in cases:
        off = factor_off(case, cases)
        told = efficiency(cases, case.kind, without=case.machine)
        lines.append(
            [
                case.name,
                case.machine,
                cells.time(case.floor_s),
                cells.time(case.latency_s),
                f"{case.efficiency:.2f}",
                cells.DASH if told is None else f"{told:.2f}",
                cells.DASH if off is None else f"×{off:.2f}",
            ]
        )
    heads = ["known", "machine", "floor", "latency", "efficiency", "of the other machines", "predicted / true"]
    taken = "; ".join(
        f"{kind} {own.value:.2f}{'' if own.off is None else f', up to ×{own.off:.1f} either way'}"
        for kind, own in known.items()
    )
    times = [case.times for case in memory_cases()]
    missed = [memory_off(case) for case in memory_cases()]
    memory = (
        f"Memory: the weights, and {min(times):.1f} to {max(times):.1f} times the largest operation in {len(times)} "
        f"rows of a processor; each told from the others, predicted / true is {min(missed):.2f} to {max(missed):.2f}. "
        "No GPU is among them."
    )
    return [
        "What is known, each told from other machines alone:",
        table(heads, lines),
        f"Efficiency taken: {taken}.",
        *([memory] if times else []),
    ]


def own_published(device: str, table: Table) -> list[str]:
    """What others published of this very device, which no prediction of it uses, beside the prediction in each mode."""
    lines = []
    for mode in modes(device):
        for case in published_cases(device, mode):
            told = efficiency(known_cases(without=device), case.kind)
            if told is not None:
                seconds = case.floor_s / told
                lines.append(
                    [
                        case.name,
                        mode,
                        cells.time(seconds),
                        cells.time(case.latency_s),
                        f"×{seconds / case.latency_s:.2f}",
                    ]
                )
    heads = ["published by others", "if in mode", "predicted", "published", "predicted / published"]
    return ["Held against what others published of it, which is not used:", table(heads, lines)] if lines else []


def words(found: Sequence[Prediction], limit_s: float | None = None) -> str:
    """For `best`: "none measured; predicted at MAXN: ..." """
    mode = "" if found[0].mode == DEFAULT else f" at {found[0].mode}"
    told = [f"{p.model}/{p.recipe} {cells.time(p.latency_s.value)} ({_ends(p.latency_s, cells.time)})" for p in found]
    named, more = ", ".join(told[:NAMED]), f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    within = "" if limit_s is None else f" within {limit_s:g} s, quality not known"
    return f"none measured; predicted{mode}{within}: {named}{more}; never ranked (`python -m leaderboards predict`)"


def to_json(device: str, mode: str | None, model: str | None, known: dict[str, Efficiency]) -> str:
    cases = known_cases(without=device)
    chosen = [mode] if mode is not None else list(modes(device))
    data = {
        "device": device,
        "note": NEVER_RANKED,
        "peaks": {
            m: find_mode(device, m).peak.model_dump(mode="json") | {"source": find_mode(device, m).source}
            for m in chosen
        },
        "efficiency": {kind: asdict(own) for kind, own in known.items()},
        "known": [asdict(case) | {"predicted_over_true": factor_off(case, cases)} for case in cases],
        "predictions": [asdict(p) for m in chosen for p in predictions(device, m, model, known)],
    }
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)


def held_against(
    measurements: Iterable[Measurement], device: str, mode: str | None
) -> tuple[list[Held], dict[str, str]]:
    """The measurements of a device that have a prediction; and why the others have none."""
    known = efficiencies(known_cases(without=device))
    held, left = [], {}
    for m in measurements:
        model, _, recipe = m.configuration.rpartition("@")[0].partition("/")
        if m.status != Status.OK or m.latency is None:
            left[m.configuration] = f"no latency ({m.status.value})"
            continue
        if model in MODELS and not MODELS[model].full_size:
            left[m.configuration] = "embedded: predictions are of the published sizes"
            continue
        ran_in = mode or (m.fingerprint and m.fingerprint.power_mode) or DEFAULT
        if ran_in == DEFAULT and DEFAULT not in modes(device):
            left[m.configuration] = f"its power mode is not recorded: give --mode, one of {', '.join(modes(device))}"
            continue
        try:
            told = predict(model, recipe, device, ran_in, known)
        except UnknownName as error:
            left[m.configuration] = str(error)
            continue
        if told is None:
            left[m.configuration] = "no peak for its arithmetic, or not a recipe of this model"
            continue
        memory = None if m.memory is None else m.memory.peak_memory_bytes
        held.append(Held(m.configuration, ran_in, told, m.latency.median.value, memory))
    return held, left


def _check(options: argparse.Namespace) -> int:
    found = _read(options.check)
    for problem in found.problems:
        print(f"warning: history file {problem}", file=sys.stderr)
    names = {*MODELS, *(m.configuration.partition("/")[0] for m in found.measurements)}
    if options.model is not None and options.model not in names:
        raise unknown("model", options.model, names)
    wanted = [
        m
        for m in found.measurements
        if m.configuration.endswith(f"@{options.device}") and options.model in (None, m.configuration.partition("/")[0])
    ]
    if not has_peaks(find_device(options.device).name):
        return _check_by_own_peaks(wanted, options.device)
    held, left = held_against(wanted, options.device, options.mode)
    lines = [
        [
            h.configuration,
            h.mode,
            cells.time(h.predicted.latency_s.value),
            _ends(h.predicted.latency_s, cells.time),
            cells.time(h.latency_s),
            f"×{h.off:.2f}",
            "inside" if h.inside else "OUTSIDE",
            _memory_words(h),
        ]
        for h in held
    ]
    if lines:
        heads = ["measured", "mode", "predicted", "interval", "latency", "predicted / true", "", "peak memory"]
        print(aligned(heads, lines))
    for why in dict.fromkeys(left.values()):
        print(f"not held against anything: {', '.join(name for name in left if left[name] == why)}: {why}")
    outside = sum(not h.inside for h in held)
    print(f"{options.device}: {len(held)} of {len(wanted)} measurements held against predictions, {outside} outside")
    return 1 if outside or not held else 0


def _check_by_own_peaks(measurements: Sequence[Measurement], device: str) -> int:
    """Where no maker names the peaks, as of any processor, rows carry their own; the efficiency is that of others."""
    own = measured_cases(measurements)
    others = known_cases(without=device)
    cases = (*others, *own)
    lines = [
        [c.name, cells.time(c.floor_s), cells.time(c.latency_s), f"{c.efficiency:.2f}", f"×{off:.2f}"]
        for c in own
        if (off := factor_off(c, cases)) is not None
    ]
    if lines:
        print(aligned(["measured", "floor", "latency", "efficiency", "predicted / true"], lines))
    print(f"{device}: {len(lines)} of {len(measurements)} measurements are of published sizes with their cost")
    return 0 if lines else 1


def _read(path: Path) -> History:
    if not path.exists():
        raise FileNotFoundError(f"no history {path}")
    return read_folder(path, set_aside=False) if path.is_dir() else read_session(path)


def _memory_words(held: Held) -> str:
    told, true = held.predicted.peak_memory_bytes, held.peak_memory_bytes
    if told is None or true is None:
        return cells.DASH
    where = "inside" if _inside(true, told) else "OUTSIDE"
    return f"{cells.plain_bytes(told.value)} predicted, {cells.plain_bytes(true)} ({where})"


def _inside(value: float, told: Expected) -> bool:
    return (told.low is None or value >= told.low) and (told.high is None or value <= told.high)


def _ends(told: Expected, text: Callable[[float], str]) -> str:
    if told.low is None or told.high is None:
        return cells.DASH
    return f"{text(told.low)} to {text(told.high)}"


def aligned(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Plain text in columns."""
    written = [list(heads), *map(list, lines)]
    widths = [max(map(len, column)) for column in zip(*written)]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(row, widths)).rstrip() for row in written)
