"""What a pytest session was asked for: the options, and all of them as one frozen record."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from suite.catalogue.extensions import find_judge
from suite.judging.stopping import Stopping
from suite.models.checkpoints.official import GIVEN_VARIABLE
from suite.names import UnknownName
from suite.prompts import PromptsError, check_file
from suite.records import GALLERY_SIZE
from suite.worker.launching import TIMEOUT_S

FULL_PROMPTS = 153
MOST_PROMPTS = 1024
MOST_SAMPLES = 16
AUTOMATIC = {"auto": GALLERY_SIZE, "auto-3001": 3001}  # the gallery in which it is asked
QUALITY_TIME_S = 300.0
TIME_BUDGET_S, SMOKE_TIME_BUDGET_S = 60.0, 6.0


@dataclass(frozen=True)
class SessionOptions:
    """Of one session. default_smoke: plain `pytest`, which runs this machine's smoke cells."""

    weights: str = "auto"  # of Model.weights; auto: the first that a model has
    quality_prompts: int = FULL_PROMPTS
    samples: int = 1  # objects a prompt, of different start noise
    stopping: Stopping | None = None  # score no more prompts than it takes to know
    borrows: bool = False  # slow cells take committed outcomes for most prompts
    prompts: Path | None = None  # a file of the user's own
    judge: str | None = None  # another than the prompt set's own
    time_budget_s: float = TIME_BUDGET_S  # of each cell's timed rounds
    extrapolate: str = "auto"  # auto, always, never
    cell_timeout_s: float = TIMEOUT_S
    lock_patience_s: float = 600.0
    resume: bool = False
    strict_machine: bool = False  # measure nothing where a check of the machine is not ok
    default_smoke: bool = False

    @classmethod
    def from_pytest(cls, config: pytest.Config, default_smoke: bool = False) -> SessionOptions:
        asked = config.getoption
        prompts, outcomes, budget_s = asked("quality_prompts"), asked("outcomes"), asked("time_budget")
        gallery = AUTOMATIC.get(prompts)  # where it is a word
        usual_s = SMOKE_TIME_BUDGET_S if default_smoke else TIME_BUDGET_S
        return cls(
            weights=asked("weights"),
            quality_prompts=MOST_PROMPTS if gallery else FULL_PROMPTS if prompts is None else prompts,
            samples=asked("samples"),
            stopping=Stopping(gallery, asked("quality_time") or QUALITY_TIME_S) if gallery else None,
            borrows=default_smoke and asked("samples") == 1 if outcomes is None else outcomes == "committed",
            prompts=None if asked("prompts") is None else asked("prompts").resolve(),
            judge=asked("judge"),
            time_budget_s=usual_s if budget_s is None else budget_s,
            extrapolate=asked("extrapolate"),
            cell_timeout_s=asked("cell_timeout"),
            lock_patience_s=asked("lock_patience"),
            resume=asked("resume"),
            strict_machine=asked("strict_machine"),
            default_smoke=default_smoke,
        )


def add_to(group: pytest.OptionGroup) -> None:
    """The options of the command line."""
    group.addoption(
        "--resume", action="store_true", help="Go on with the last unfinished session: measure only what it lacks."
    )
    group.addoption(
        "--preflight",
        action="store_true",
        help="Look at the machine for the selected cells, say what to mend, and measure nothing (docs/preflight.md).",
    )
    group.addoption(
        "--strict-machine",
        action="store_true",
        help="Measure nothing where a check of --preflight is not ok.",
    )
    group.addoption(
        "--require-device",
        action="append",
        default=[],
        metavar="DEVICE",
        help="Fail, instead of skipping, when this device or the weights of its configurations are absent.",
    )
    group.addoption(
        "--weights",
        default="auto",
        choices=("auto", "embedded", "official", "random"),
        help=(
            "auto: embedded models use embedded weights, full-size ones official weights. "
            "random: speed and memory only."
        ),
    )
    group.addoption(
        "--quality-prompts",
        type=_prompts,
        default=None,
        metavar="N",
        help=f"Prompts to score, 0 to {MOST_PROMPTS} (default {FULL_PROMPTS}). auto: until it is known whether a "
        "recipe hits less often than its reference by more than 3 points among 153 (auto-3001: among 3,001), or "
        "--quality-time is over.",
    )
    group.addoption(
        "--samples",
        type=_samples,
        default=1,
        metavar="N",
        help=f"Objects of each prompt, from different start noise, 1 to {MOST_SAMPLES} (default 1).",
    )
    group.addoption(
        "--quality-time",
        type=float,
        default=None,
        metavar="SECONDS",
        help="With --quality-prompts auto: of a cell's scoring, once it has 153 prompts (default "
        f"{QUALITY_TIME_S:.0f}).",
    )
    group.addoption(
        "--outcomes",
        default=None,
        choices=("measured", "committed"),
        help="measured: score every prompt. committed: a cell that takes over 0.1 s an object scores a few, and where "
        "they come out as in the committed history takes the other outcomes from there. Default: measured; committed "
        "in the plain smoke run.",
    )
    group.addoption(
        "--weights-dir",
        type=Path,
        default=None,
        metavar="DIR",
        help=(
            "Read official weights and captions from here only; nothing is downloaded to it. "
            "For boards without network."
        ),
    )
    group.addoption(
        "--prompts",
        type=Path,
        default=None,
        metavar="FILE",
        help=(
            "Score these prompts, one a line, instead of the models' own; `docs/protocol.md` says among which captions."
        ),
    )
    group.addoption(
        "--judge",
        default=None,
        metavar="NAME",
        help="Score with this network instead of the prompt set's own: one of suite/catalogue/judges.py, or of a "
        "package's (docs/extending.md).",
    )
    group.addoption(
        "--time-budget",
        type=float,
        default=None,
        metavar="SECONDS",
        help=(
            f"Of each cell's timed rounds (default {TIME_BUDGET_S:.0f}; "
            f"{SMOKE_TIME_BUDGET_S:.0f} in the plain smoke run)."
        ),
    )
    group.addoption(
        "--extrapolate",
        default="auto",
        choices=("auto", "always", "never"),
        help="Tell latency from a few network evaluations instead of whole objects. auto: for full-size models with "
        "random weights on a processor. Such rows say so, have no latency budgets and are not ranked.",
    )
    group.addoption(
        "--cell-timeout",
        type=float,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help="After which a cell is stopped.",
    )
    group.addoption(
        "--baseline", action="store_true", help="Fail a cell that regressed against suite/baselines/<board>.json."
    )
    group.addoption(
        "--lock-patience",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="How long to wait for another run on this board.",
    )


def _prompts(text: str) -> int | str:
    if text in AUTOMATIC:
        return text
    if text.isdecimal() and int(text) <= MOST_PROMPTS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is not possible; 0 to {MOST_PROMPTS}, or {' or '.join(AUTOMATIC)}")


def _samples(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= MOST_SAMPLES:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is not possible; 1 to {MOST_SAMPLES}")


def use_files(config: pytest.Config) -> None:
    """Check numbers and files that were named, and tell the workers where weights are."""
    quality_s = config.getoption("quality_time")
    if quality_s is not None and not quality_s > 0:  # so no NaN either
        raise pytest.UsageError(f"--quality-time: {quality_s} is not possible; above 0")
    if quality_s is not None and config.getoption("quality_prompts") not in AUTOMATIC:
        raise pytest.UsageError("--quality-time: a fixed number of prompts has no time; add --quality-prompts auto")
    if config.getoption("samples") > 1:
        if config.getoption("quality_prompts") in AUTOMATIC:
            raise pytest.UsageError("--samples: scoring that stops when it knows takes one object a prompt")
        if config.getoption("outcomes") == "committed":
            raise pytest.UsageError("--samples: committed outcomes are of one object a prompt")
    if (judge := config.getoption("judge")) is not None:
        try:
            find_judge(judge)
        except UnknownName as error:
            raise pytest.UsageError(f"--judge: {error}") from None
    given, prompts = config.getoption("weights_dir"), config.getoption("prompts")
    if given is not None:
        if not given.is_dir():
            raise pytest.UsageError(f"--weights-dir: {given} is no folder")
        os.environ[GIVEN_VARIABLE] = str(given.resolve())
    if prompts is not None:
        try:
            check_file(prompts)
        except PromptsError as error:
            raise pytest.UsageError(f"--prompts: {error}") from None
