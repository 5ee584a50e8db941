"""How often do alarm rules cry wolf, and what do they find? On real nights, and on made-up ones.

    python -m benchmarks.judging --series FILE.csv.gz              # real nights
    python -m benchmarks.judging --series FILE.csv.gz --month 300  # and the false reds of so many series in 30 nights
    python -m benchmarks.judging --synthetic    # log-normal AR(1) nights with outliers, drift, clocks of two states

FILE has the columns series, project, kind, unit, measured_at, commit and value, and its nights stand in order of time.

Real nights: windows of 60 nights are called quiet where no split (after 8 to 52 nights) moves the median by more than
0.75 of the window's noise and 0.3 %. Thirty nights are the past; a step is injected at the 31st. At most 250 windows a
class of noise, chosen with seed 7. A rule's row says: share of windows with an alarm in 30 nights without a step, and
share of steps found within 3 and within 10 nights. For throughput the series is turned over: a higher value is worse.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.known_rules import PAST, RULES, Rule
from benchmarks.peers import RULES as PEERS
from suite.command_line import command
from suite.judging.intervals import proportion
from suite.judging.step_evidence import evidence
from suite.judging.together import survivors

WINDOW, STRIDE, MOST_WINDOWS, SEED = 60, 30, 250, 7
CLASSES = {"< 1 %": (0, 0.01), "1–3 %": (0.01, 0.03), "3–6 %": (0.03, 0.06), "> 6 %": (0.06, math.inf)}
STEPS = (0.05, 0.10, 0.20)
SOON, LATER = 3, 10


class Unreadable(ValueError):
    """Names the file, and the line where there is one."""


def read_series(path: Path) -> dict[str, np.ndarray]:
    """Logarithms of each series in order of the file, higher being worse."""
    found: dict[str, list[float]] = defaultdict(list)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if lacking := {"series", "kind", "value"} - set(rows.fieldnames or ()):
                raise Unreadable(f"{path}: no column {', '.join(sorted(lacking))}")
            for number, row in enumerate(rows, 2):
                value = _positive(row["value"])
                if value is None:
                    raise Unreadable(f"{path}: line {number}: value: expected a number above 0, got {row['value']!r}")
                found[row["series"]].append(-math.log(value) if row["kind"] == "throughput" else math.log(value))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}: {error}") from None
    return {name: np.array(values) for name, values in found.items()}


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def noise(nights: np.ndarray) -> float:
    """From night to night, so that a step does not count."""
    return 1.4826 * float(np.median(np.abs(np.diff(nights)))) / math.sqrt(2)


def quiet(nights: np.ndarray) -> bool:
    moved = max(abs(np.median(nights[:k]) - np.median(nights[k:])) for k in range(8, WINDOW - 8, 2))
    return moved < max(0.75 * max(noise(nights), 1e-4), 0.003)


def quiet_windows(series: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """By class of noise."""
    windows = [v[i : i + WINDOW] for v in series.values() for i in range(0, len(v) - WINDOW, STRIDE)]
    windows = [window for window in windows if quiet(window)]
    chance = np.random.default_rng(SEED)
    found = {}
    for name, (low, high) in CLASSES.items():
        its = [window for window in windows if low <= noise(window) < high]
        if len(its) > MOST_WINDOWS:
            its = [its[i] for i in chance.choice(len(its), MOST_WINDOWS, replace=False)]
        found[name] = its
    return found


def first_alarm(rule: Rule, nights: np.ndarray, horizon: int) -> int | None:
    """On which night after the past a rule alarms: 1 is the first."""
    for t in range(PAST, PAST + horizon):
        if rule(nights[:t], nights[t]):
            return t - PAST + 1
    return None


def with_step(nights: np.ndarray, step: float) -> np.ndarray:
    return np.concatenate([nights[:PAST], nights[PAST:] + math.log1p(step)])


Alarms = Callable[[Sequence[np.ndarray]], list[int | None]]  # of series, each its first alarm


def of_rule(rule: Rule) -> Alarms:
    return lambda series: [first_alarm(rule, nights, len(nights) - PAST) for nights in series]


def of_peer(python: Path, name: str) -> Alarms:
    """A rule of `benchmarks/peers.py`, run by a Python that has the peers' packages."""

    def ask(series: Sequence[np.ndarray]) -> list[int | None]:
        asked = json.dumps({"rule": name, "past": PAST, "nights": [nights.tolist() for nights in series]})
        script = str(Path(__file__).with_name("peers.py"))
        answer = subprocess.run([str(python), script], input=asked, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise Unreadable(f"{python} {script}: {answer.stderr.strip().splitlines()[-1:]}")
        return json.loads(answer.stdout)

    return ask


def row(alarms: Alarms, windows: Sequence[np.ndarray]) -> tuple[int, list[tuple[float, float]]]:
    """Windows with a false alarm; for each step the share found soon and later."""
    false = sum(first is not None for first in alarms(windows))
    shares = []
    for step in STEPS:
        firsts = [
            first or math.inf for first in alarms([with_step(window, step)[: PAST + LATER] for window in windows])
        ]
        shares.append((np.mean([first <= SOON for first in firsts]), np.mean([first <= LATER for first in firsts])))
    return false, shares


def table(windows: dict[str, list[np.ndarray]], rules: dict[str, Alarms]) -> Iterator[str]:
    yield from (
        "| noise | windows | rule | false in 30 nights (95 % interval) | "
        + " | ".join(f"+{step:.0%} in {SOON} / {LATER}" for step in STEPS)
        + " |",
        "|---|---|---|---|" + "---|" * len(STEPS),
    )
    for name, its in windows.items():
        if not its:
            continue
        for rule_name, rule in rules.items():
            false, shares = row(rule, its)
            share = proportion(false, len(its))
            yield (
                f"| {name} | {len(its)} | {rule_name} | {share.value:.1%} ({share.low:.1%} to {share.high:.1%}) | "
                + " | ".join(f"{soon:.0%} / {later:.0%}" for soon, later in shares)
                + " |"
            )


def synthetic(kind: str, level: float, count: int, chance: np.random.Generator) -> list[np.ndarray]:
    """Log-normal AR(1) nights (0.3 from one to the next) of so much noise, and what real nights have besides."""
    found = []
    for _ in range(count):
        nights = np.empty(WINDOW)
        nights[0] = chance.normal(0, level)
        for t in range(1, WINDOW):
            nights[t] = 0.3 * nights[t - 1] + chance.normal(0, level * math.sqrt(1 - 0.09))
        if kind == "outliers":
            wild = chance.random(WINDOW) < 0.03
            nights[wild] += chance.exponential(6 * level, wild.sum())
        elif kind == "drift":
            nights += np.linspace(0, level / 2, WINDOW)
        elif kind == "two clocks":  # the board sits in one of two clock states of its own choice, night by night
            nights += np.where(chance.random(WINDOW) < 0.3, 3 * level, 0.0)
        found.append(nights)
    return found


def false_reds(windows: Sequence[np.ndarray], series: int, months: int, chance: np.random.Generator) -> list[int]:
    """Reds in each of so many months of a board with so many series, each a quiet window drawn at random: alarms that
    outlive the correction for looking at all of them. A red that stands for several nights counts once."""
    odds = [[_log_odds(window[: t + 1]) for t in range(PAST, WINDOW)] for window in windows]
    found = []
    for _ in range(months):
        drawn = chance.integers(len(windows), size=series)
        red: set[int] = set()
        for night in range(WINDOW - PAST):
            kept = survivors([odds[i][night] for i in drawn])
            red |= {place for place, survives in enumerate(kept) if survives}
        found.append(len(red))
    return found


def _log_odds(nights: np.ndarray) -> float | None:
    found = evidence(nights)
    return found.log_odds if found and found.fires else None


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judging", description=__doc__.split("\n")[0])
    parser.add_argument("--series", type=Path, metavar="FILE", help="real nights, as CSV or CSV.GZ")
    parser.add_argument("--synthetic", action="store_true", help="made-up nights of 1 to 6 %% noise")
    parser.add_argument("--month", type=int, metavar="SERIES", help="false reds of a board with so many series")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help=f"that has {', '.join(PEERS)}: their own code too")
    parser.add_argument("--only", choices=RULES, metavar="RULE", help=f"one of: {', '.join(RULES)}")
    options = parser.parse_args(argv)
    if not (options.series or options.synthetic):
        parser.error("name --series FILE or --synthetic")
    rules = {name: of_rule(rule) for name, rule in RULES.items() if options.only in (None, name)}
    if options.peers:
        rules |= {name: of_peer(options.peers, name) for name in PEERS}
    windows: dict[str, list[np.ndarray]] = {}
    try:
        if options.series:
            series = read_series(options.series)
            windows |= quiet_windows(series)
            print(f"{options.series.name}: {len(series)} series, {sum(map(len, series.values()))} nights")
        return _print(options, windows, rules)
    except Unreadable as error:
        print(f"python -m benchmarks.judging: {error}", file=sys.stderr)
        return 2


def _print(options: argparse.Namespace, windows: dict[str, list[np.ndarray]], rules: dict[str, Alarms]) -> int:
    chance = np.random.default_rng(SEED)
    if options.synthetic:
        for kind in ("plain", "outliers", "drift", "two clocks"):
            for level in (0.01, 0.02, 0.04, 0.06):
                windows[f"{kind}, {level:.0%}"] = synthetic(kind, level, 150, chance)
    for line in table(windows, rules):
        print(line, flush=True)
    if options.month:
        every = [window for its in windows.values() for window in its]
        reds = false_reds(every, options.month, 150, chance)
        most = np.quantile(reds, 0.95)
        print(f"{options.month} series: {np.mean(reds):.2f} false reds a month (at most {most:.0f} in 95 % of months)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
