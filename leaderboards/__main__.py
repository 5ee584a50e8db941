"""`python -m leaderboards publish | keep | merge | frontier | best | compare | session | predict | judges | site`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from leaderboards import agreement, expected, session
from leaderboards.best import CONDITIONINGS, Question, ask, literature, to_json
from leaderboards.choice import Limits
from leaderboards.compare import compare, lines, regressed, without_baseline
from leaderboards.frontier import AXES
from leaderboards.keep import NotKept, keep, read_cells, read_session_text
from leaderboards.kinds import ALL_KINDS
from leaderboards.literature import MalformedLiterature
from leaderboards.merge import Altered, merge, session_files
from leaderboards.objects import Copied, keep_objects
from leaderboards.predictions import MalformedPredictions
from leaderboards.publish import Board, folders, publish, read_board
from leaderboards.rows import PUBLISHED
from leaderboards.terminal import show_answers, show_frontier
from suite.command_line import command, percent, positive
from suite.configurations import UnknownName
from suite.history import COMMITTED, HistoryError
from suite.judging.baselines import FOLDER as BASELINES
from suite.judging.baselines import MalformedBaselines
from suite.objects import FOLDER


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m leaderboards", description="Rank measured configurations.")
    commands = parser.add_subparsers(dest="command", required=True)

    source = argparse.ArgumentParser(add_help=False)
    source.add_argument("--history", type=Path, metavar="DIR", help=f"read runs from here instead of {COMMITTED}")
    source.add_argument("--include-local", action="store_true", help="also read the local runs in .benchmarks/")

    held = argparse.ArgumentParser(add_help=False)
    held.add_argument("--baselines", type=Path, default=BASELINES, metavar="DIR", help="default: %(default)s")

    tables = commands.add_parser(
        "publish", parents=[source, held], help="write the tables of every device, print the frontier"
    )
    tables.add_argument(
        "--output", type=Path, default=PUBLISHED, metavar="DIR", help="where to write (default: %(default)s)"
    )

    kept = commands.add_parser("keep", help="copy a session's JSON file into the committed history")
    kept.add_argument("files", nargs="+", type=Path, metavar="FILE", help="written by pytest --benchmark-save")
    kept.add_argument("--smoke", action="store_true", help="keep a smoke run too")
    kept.add_argument("--history", type=Path, default=COMMITTED, metavar="DIR", help="where to (default: %(default)s)")

    joined = commands.add_parser("merge", help="put the histories of several boards together")
    joined.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="such as .benchmarks of another checkout")
    joined.add_argument("--into", type=Path, default=COMMITTED, metavar="DIR", help="default: %(default)s")

    shown = commands.add_parser("frontier", parents=[source], help="print the frontier, or what fits given limits")
    shown.add_argument("--device", help="only this one, such as cpu or orin")
    shown.add_argument(
        "--max-latency-s", type=positive("seconds"), metavar="SECONDS", help="the whole 95 %% interval must fit"
    )
    shown.add_argument("--max-memory-gb", type=positive("GB"), metavar="GB", help="peak memory; 1 GB is 10^9 bytes")

    shown.add_argument("--quality", choices=AXES, default="r_precision", help="default: %(default)s")
    shown.add_argument(
        "--all-kinds", action="store_true", help="one frontier over meshes and clouds of any number of points"
    )

    _add_best(commands, source)

    told = commands.add_parser(
        "session", help="one session: its own frontier, what it means, its objects side by side, what to type next"
    )
    told.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the newest of the local runs")

    expected.add_predict(commands)

    judges = commands.add_parser(
        "judges", parents=[source], help="how often two judges agree on the same objects, a line a recipe"
    )
    judges.add_argument("--device", help="only this one, such as cpu or orin")

    site = commands.add_parser(
        "site", parents=[source], help="write the boards as a static site, with badges and a feed of regressions"
    )
    site.add_argument("output", type=Path, metavar="OUT", help="the folder to write it to")

    change = commands.add_parser(
        "compare",
        parents=[source, held],
        help="hold the newest measurements against the pinned baselines; 1 when one regressed",
    )
    change.add_argument("--device", help="only this one, such as cpu or orin")
    change.add_argument("--require-baseline", action="store_true", help="1 too when something was held against nothing")
    return parser


def _add_best(commands: argparse._SubParsersAction, source: argparse.ArgumentParser) -> None:
    best = commands.add_parser("best", parents=[source], help="the cheapest good configuration within limits")
    best.add_argument("--device", help="only this one, such as cpu or orin")
    best.add_argument(
        "--max-latency", type=positive("seconds"), metavar="SECONDS", help="the whole 95 %% interval must fit"
    )
    best.add_argument("--max-memory", type=positive("GB"), metavar="GB", help="peak memory; 1 GB is 10^9 bytes")
    best.add_argument("--max-energy", type=positive("joules"), metavar="JOULES", help="of one object")
    best.add_argument(
        "--min-quality",
        type=percent,
        metavar="PERCENT",
        help="the fastest that reaches this share; without it, the fastest that cannot be told from the best",
    )
    best.add_argument("--quality", choices=AXES, default="r_precision", help="default: %(default)s")
    kinds = best.add_mutually_exclusive_group()
    kinds.add_argument("--kind", help='only this kind of output, such as mesh or "point cloud (256)"')
    kinds.add_argument("--all-kinds", action="store_true", help="one answer over all kinds of output")
    best.add_argument("--conditioning", choices=CONDITIONINGS, help="image: a picture of the text is made first")
    best.add_argument("--model", help="only this one, such as point-e-nano-text")
    best.add_argument("--json", action="store_true", help="for programs: rows as in docs/published-rows.md")


@command
def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except BrokenPipeError:
        raise
    except HistoryError as error:
        print(f"error: {error.__cause__ or error}; {ADVICE.get(options.command, HISTORY_ADVICE)}", file=sys.stderr)
    except (UnknownName, MalformedLiterature, MalformedPredictions, MalformedBaselines, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 2


def _read(options: argparse.Namespace) -> Board:
    board = read_board(folders(options.history, options.include_local))
    for problem in board.problems:
        print(f"warning: history file {problem}", file=sys.stderr)
    return board


def _publish(options: argparse.Namespace) -> int:
    board = _read(options)
    written = publish(board, options.output)
    rows = [row for found in board.rows.values() for row in found]
    measured = sum(row.source == "measured" for row in rows)
    print(
        f"wrote {len(written)} files to {options.output}: "
        f"{measured} measured rows, {len(rows) - measured} published by others"
    )
    if not measured:
        where = "there" if options.include_local else "there; --include-local reads this machine's runs too"
        print(
            f"no runs in {options.history or COMMITTED}: "
            f"`python -m leaderboards keep FILE` puts a session's file {where}"
        )
    for device, found in board.rows.items():
        show_frontier(device, found)
    for name, compared in compare(board.measurements, options.baselines).items():
        if compared is not None:
            print("\n" + "\n".join(lines(name, compared)))
    return 0


def _keep(options: argparse.Namespace) -> int:
    failed = 0
    for path in options.files:
        try:
            print(f"{path}: kept as {keep(path, options.history, options.smoke)}")
            copied = _keep_objects(path, options.history)
            if copied.files:
                print(f"{path}: {copied.files} files of objects kept, {copied.size_bytes:,} bytes of them new")
            for line in copied.left_out:
                print(f"warning: {path}: objects are left out: {line}", file=sys.stderr)
        except NotKept as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    return 2 if failed else 0


def _keep_objects(path: Path, history: Path) -> Copied:
    """The objects of a session's file, beside the history that it went into."""
    return keep_objects(path, read_cells(path, read_session_text(path)), history.parent / FOLDER)


def _merge(options: argparse.Namespace) -> int:
    for folder in options.folders:
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is no folder")
    try:
        written = merge(options.folders, options.into)
    except (NotKept, Altered) as error:
        print(f"error: {error}; nothing was written", file=sys.stderr)
        return 2
    for path in (path for folder in options.folders for path in session_files(folder)):
        for line in _keep_objects(path, options.into).left_out:
            print(f"warning: {path}: objects are left out: {line}", file=sys.stderr)
    print(f"{len(written)} sessions of {len({path.parent for path in written})} boards in {options.into}")
    return 0


def _frontier(options: argparse.Namespace) -> int:
    if options.device is not None:
        read_board([]).device(options.device)  # a wrong name is answered before the history is read
    board = _read(options)
    memory_bytes = options.max_memory_gb and options.max_memory_gb * 1e9
    limits = Limits(options.max_latency_s, memory_bytes, axis=options.quality)
    if limits != Limits(axis=options.quality):
        kind = ALL_KINDS if options.all_kinds else None
        show_answers(board, Question(limits, options.device, kind))
        return 0
    for device in [options.device] if options.device is not None else board.rows:
        show_frontier(
            device, board.device(device), qualities=board.qualities, all_kinds=options.all_kinds, axis=options.quality
        )
    return 0


def _best(options: argparse.Namespace) -> int:
    limits = Limits(
        options.max_latency,
        options.max_memory and options.max_memory * 1e9,
        options.max_energy,
        options.min_quality,
        options.quality,
    )
    kind = ALL_KINDS if options.all_kinds else options.kind
    question = Question(limits, options.device, kind, options.conditioning, options.model)
    board = _read(options)
    if options.json:
        print(to_json(question, ask(board, question), literature(board, question)))
    else:
        show_answers(board, question)
    return 0


def _compare(options: argparse.Namespace) -> int:
    if options.device is not None:
        read_board([]).device(options.device)
    found = compare((m for m in _read(options).measurements if options.device in (None, m.device)), options.baselines)
    if not found:
        print("nothing measured")
    for board, compared in found.items():
        print("\n".join(lines(board, compared)))
    missing = without_baseline(found) if options.require_baseline else []
    if missing or (options.require_baseline and not found):
        print(f"held against no baseline: {', '.join(missing) or 'everything'}", file=sys.stderr)
        return 1
    return 1 if regressed(found.values()) else 0


def _session(options: argparse.Namespace) -> int:
    session.show(session.read(options.file or session.newest_session()))
    return 0


def _judges(options: argparse.Namespace) -> int:
    board = _read(options)
    devices = [options.device] if options.device is not None else [*board.rows]
    rows = agreement.judged_twice(row for device in devices for row in board.device(device))
    print(agreement.summary(rows))
    if rows:
        print(expected.aligned([column.title for column in agreement.COLUMNS], agreement.lines(rows)))
    return 0


def _site(options: argparse.Namespace) -> int:
    from dashboard.static.build import build  # the one way up: the site is the dashboard, drawn without a server

    written = build(_read(options), options.output)
    boards = sum(path.name.startswith("board-") for path in written)
    print(f"wrote {len(written)} files to {options.output}: {boards} boards; open {options.output / 'index.html'}")
    return 0


HISTORY_ADVICE = "give another folder with --history"
ADVICE = {
    "publish": "give another folder with --output",
    "site": "give another folder",
    "session": "give a file written by pytest --benchmark-save",
    "predict": "give --check a file written by pytest --benchmark-save, or a folder of them",
}
COMMANDS = {
    "publish": _publish,
    "keep": _keep,
    "merge": _merge,
    "frontier": _frontier,
    "best": _best,
    "compare": _compare,
    "session": _session,
    "predict": expected.run,
    "judges": _judges,
    "site": _site,
}


if __name__ == "__main__":
    sys.exit(main())
