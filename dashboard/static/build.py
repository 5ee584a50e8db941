"""The static site, written from the history: no server, no network, and the same pages for the same runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from plotly.offline import get_plotlyjs

from dashboard import commits, data, gallery
from dashboard.static import badges, feed, looks, pages
from dashboard.static.pages import BoardPage
from dashboard.viewer import BUNDLE
from leaderboards.objects import made_beside
from leaderboards.publish import Board
from suite.saving import write_atomically

HERE = Path(__file__).parent
PLOTLY = "plotly.min.js"


def build(board: Board, output: Path) -> list[Path]:
    """Write the site; the files written. Pages and badges of boards that are gone are removed."""
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"cannot write the site to {output}: it is a file; give a folder")
    boards = board_pages(board)
    missing = boards[0].missing if boards else frozenset()
    texts: dict[str, str | bytes] = {
        name: (HERE / name).read_text(encoding="utf-8") for name in ("look.css", "look.js")
    }
    texts |= {PLOTLY: get_plotlyjs(), ".nojekyll": ""}
    entries, _ = made_beside(board.folders)
    texts |= (shown := looks.files(gallery.subjects(board.measurements, entries, board.folders)))
    texts["index.html"] = pages.index(boards, looks.FILE if shown else None)
    texts["feed.xml"] = feed.atom(((page.file, page.changes, page.measurements) for page in boards), missing)
    for page in boards:
        texts[page.file] = pages.board_page(page)
        for kind, badge in badges_of(page).items():
            texts[f"badges/{page.stem}-{kind}.svg"] = badge.as_svg()
            texts[f"badges/{page.stem}-{kind}.json"] = badge.as_json()
    for name, text in texts.items():
        write_atomically(output / name, text)
    _remove_outdated(output, texts)
    return [output / name for name in texts]


def board_pages(board: Board) -> list[BoardPage]:
    """A page a board that has measured something, in the dashboard's order."""
    rows = [row for its in board.rows.values() for row in its]
    missing = commits.absent(m.commit for m in board.measurements)
    found = []
    for device in dict.fromkeys([*data.devices(rows), *sorted({m.device for m in board.measurements})]):
        for name in data.boards_measured(rows, board.measurements, device):
            its = [m for m in board.measurements if m.device == device and (m.board or data.UNIDENTIFIED) == name]
            of_board = data.of_board(rows, device, name)
            found.append(BoardPage(device, name, of_board, its, board.qualities, missing))
    return found


def badges_of(page: BoardPage) -> dict[str, badges.Badge]:
    first: Iterable = next(iter(page.groups.values()), [])
    return {
        "verdict": badges.of_verdict(page.board, page.report.verdict),
        "latency": badges.of_latency(page.board, first),
    }


def _remove_outdated(output: Path, written: Collection[str]) -> None:
    """Only what an earlier run wrote."""
    for path in output.glob(f"{looks.FOLDER}/{'[0-9a-f]' * 64}.*"):
        if path.suffix in (".png", ".js") and f"{looks.FOLDER}/{path.name}" not in written:
            path.unlink()
    if looks.FILE not in written:
        (output / BUNDLE.name).unlink(missing_ok=True)
    for path in [*output.glob("board-*.html"), *output.glob(looks.FILE)]:
        if path.name not in written and pages.MARK in path.read_text(encoding="utf-8", errors="replace")[:200]:
            path.unlink()
            stem = path.stem.removeprefix("board-")
            for kind in ("verdict", "latency"):
                for ending in ("svg", "json"):
                    (output / "badges" / f"{stem}-{kind}.{ending}").unlink(missing_ok=True)
