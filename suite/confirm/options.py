"""The options of comparing two commits, which confirming and bisecting share."""

from __future__ import annotations

import argparse

from suite.command_line import positive
from suite.confirm.comparing import Rules


def add_rules(parser: argparse.ArgumentParser, memory: str) -> None:
    """The options of comparing, which bisecting has too."""
    usual = Rules()
    parser.add_argument(
        "--precision",
        type=positive("parts of one"),
        default=usual.precision,
        metavar="FRACTION",
        help=f"stop when the ratio is known to ± this (default {usual.precision:g}, which is ±1 %%)",
    )
    parser.add_argument(
        "--tolerance",
        type=positive("parts of one"),
        default=None,
        metavar="FRACTION",
        help="a latency that differs by less than this has not changed (default: twice the precision)",
    )
    parser.add_argument(
        "--time-limit",
        type=positive("seconds"),
        default=usual.time_limit_s,
        metavar="SECONDS",
        help=f"stop at the latest after so long, each configuration (default {usual.time_limit_s:.0f})",
    )
    parser.add_argument(
        "--min-pairs",
        type=at_least_two,
        default=usual.min_pairs,
        metavar="N",
        help=f"pairs of processes before the interval may end it (default {usual.min_pairs})",
    )
    parser.add_argument(
        "--decide", action="store_true", help="stop as soon as the verdict is sure (99 %%), however wide the interval"
    )
    parser.add_argument("--memory", action="store_true", help=memory)
    parser.add_argument(
        "--weights", default="auto", choices=("auto", "embedded", "official", "random"), help="as a session's"
    )
    parser.add_argument(
        "--lock-patience",
        type=positive("seconds"),
        default=600.0,
        metavar="SECONDS",
        help="how long to wait for another run on this board",
    )


def rules_of(options: argparse.Namespace) -> Rules:
    """What `add_rules` was given."""
    tolerance = 2 * options.precision if options.tolerance is None else options.tolerance
    return Rules(
        precision=options.precision,
        tolerance=tolerance,
        time_limit_s=options.time_limit,
        min_pairs=options.min_pairs,
        memory=options.memory,
        decide=options.decide,
    )


def at_least_two(text: str) -> int:
    """An argument's type: one pair has no interval."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected a whole number of 2 or more, got {text!r}")
    return int(text)
