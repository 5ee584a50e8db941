"""The pages of the static site, as HTML: the same figures, sentences and tables as the dashboard's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

import pandas
import plotly.graph_objects as go

from dashboard import answers, attributes, changes, data, figures, history, tables, verdicts
from dashboard.words import in_html
from leaderboards import cells
from leaderboards.axes import ranked_on, separating
from leaderboards.choice import Limits, answer
from leaderboards.frontier import Key, key
from leaderboards.kinds import by_kind
from suite.catalogue.optimizations import REFERENCE
from suite.nights.night import NightReport
from suite.nights.series import cells as nights_by_cell
from suite.records import Measurement, PublishedRow, Quality

MARK = "<!-- written by `python -m leaderboards site` -->"
# Nothing may be asked for by a script, and no page may be framed into another address.
POLICY = "connect-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'"
LATEST = 30  # changes on the first page


@dataclass(frozen=True)
class BoardPage:
    """All that is shown of one board."""

    device: str
    board: str
    rows: list[PublishedRow]  # measured ones, of every prompt set
    measurements: list[Measurement]
    qualities: Mapping[Key, Quality]
    missing: frozenset[str]  # commits that are not in this repository

    @property
    def stem(self) -> str:
        return f"{self.board}@{self.device}"

    @property
    def file(self) -> str:
        return f"board-{self.stem}.html"

    @cached_property
    def groups(self) -> dict[tuple[str, str], list[PublishedRow]]:
        """Rows that are held against each other, by prompt set and kind, the kind with the most rows first."""
        sets = data.comparisons(self.rows, self.device, self.board)
        return {(prompts, kind): its for prompts, rows in sets.items() for kind, its in by_kind(rows).items()}

    @cached_property
    def changes(self) -> list[changes.Change]:
        return changes.of_board(self.measurements)

    @cached_property
    def report(self) -> NightReport:
        return verdicts.newest(self.measurements)


def index(boards: Sequence[BoardPage], looks: str | None = None) -> str:
    """looks: the page of objects, where there is one."""
    said = ["<h1>text3d-bench: text-to-3D generators on small devices</h1>"]
    if not boards:
        said.append('<p class="verdict">Nothing has been measured yet.</p>')
        return page("text3d-bench", said)
    said.append('<h2>Boards</h2><p class="quiet">Each name leads to its frontier, its rows and its nights.</p>')
    lines = [_board_line(board) for board in boards]
    said.append(table_html(pandas.DataFrame(lines), links={board.board: board.file for board in boards}))
    if looks:
        said.append(f'<p><a href="{looks}">What the objects look like</a>, recipe by recipe</p>')
    said.append('<h2 id="changes">What changed last</h2>')
    found = [(board, change) for board in boards for change in board.changes]
    found.sort(key=lambda item: item[1].told.measured_at, reverse=True)
    if found:
        lines = [
            {"board": board.board} | changes.table([change], board.missing).to_dict("records")[0]
            for board, change in found[:LATEST]
        ]
        said.append(table_html(pandas.DataFrame(lines)))
    else:
        said.append("<p>No change in any board's history.</p>")
    said.append('<p class="quiet"><a href="feed.xml">Feed of regressions</a> (Atom)</p>')
    return page("text3d-bench", said)


def _board_line(board: BoardPage) -> dict[str, object]:
    best = answer(next(iter(board.groups.values())), qualities=board.qualities).best if board.groups else None
    chips = sorted({m.fingerprint.chip for m in board.measurements if m.fingerprint})
    return {
        "board": board.board,
        "device": board.device,
        "chip": ", ".join(chips) or cells.DASH,
        "rows": len(board.rows),
        "newest session, UTC": board.report.measured_at[:16].replace("T", " "),
        "newest session": verdicts.WORDS[board.report.verdict],
        "best quality": cells.DASH if best is None else best.configuration.partition("@")[0],
        "its latency": cells.DASH if best is None else cells.latency(best),
        "its R-Precision": cells.DASH if best is None else cells.r_precision(best),
    }


def board_page(board: BoardPage) -> str:
    said = [
        '<p><a href="index.html">All boards</a></p>',
        f"<h1>{in_html(board.board)}</h1>",
        f'<p class="verdict">{markdown_html(verdicts.headline(board.report, board.changes, board.missing))}</p>',
        "<p>"
        + " ".join(
            f'<img src="badges/{quote(board.stem)}-{kind}.svg" alt="{alt}">'
            for kind, alt in (("verdict", "verdict of the newest session"), ("latency", "best latency"))
        )
        + "</p>",
    ]
    for number, ((prompts, kind), rows) in enumerate(board.groups.items()):
        said += _rows(board, f"frontier-{number}", f"{kind}, prompts {prompts}", rows)
    said.append('<h2 id="changes">What changed last</h2>')
    shown = changes.table(board.changes, board.missing)
    said.append("<p>No change in this board's history.</p>" if shown.empty else table_html(shown))
    said += _nights(board)
    return page(board.board, said)


def _rows(board: BoardPage, name: str, what: str, rows: Sequence[PublishedRow]) -> list[str]:
    axis = separating(rows, board.qualities)
    rows = rows if axis == figures.FIRST else ranked_on(axis, rows, board.qualities)
    found = answer(rows, qualities=board.qualities, limits=Limits(axis=axis))
    sentence = answers.sentences(found, None, None, axis=axis)
    said = [
        f"<h2>Frontier of {in_html(what)}</h2>",
        f'<p class="verdict">{markdown_html(sentence)}</p>',
    ]
    if any(data.has_point(row, axis) for row in rows):
        said.append(figure_html(figures.frontier_figure(rows, quality=axis), name, "Latency against quality"))
        said.append(f'<p class="quiet">{in_html(tables.legend(rows, True))}</p>')
    said += _what_breaks(board, name, rows, found.best)
    said.append(f'<p class="quiet">{in_html(tables.summary(rows))} {in_html(tables.provenance(rows))}</p>')
    return said + [table_html(tables.measured_table(rows, board.missing), tables.FORMATS)]


def _what_breaks(board: BoardPage, name: str, rows: Sequence[PublishedRow], best: PublishedRow | None) -> list[str]:
    """Which attributes of their prompts the best row's objects keep, beside those of its model's reference."""
    references = [row for row in rows if best is not None and (row.model, row.optimization) == (best.model, REFERENCE)]
    if not references or best in references:
        return []
    there, here = (board.qualities.get(key(row)) for row in (references[0], best))
    if there is None or here is None or not there.attributes.keys() & here.attributes.keys():
        return []
    figure = attributes.attributes_figure(there, here, (REFERENCE, best.optimization))
    heading = f"<h3>What breaks first: {in_html(best.optimization)} beside {REFERENCE}</h3>"
    return [heading, figure_html(figure, f"{name}-attributes", "Attributes kept, percent of objects")]


def _nights(board: BoardPage) -> list[str]:
    """A fold a cell that was measured more than once."""
    said, single = ["<h2>Night by night</h2>"], 0
    for number, its in enumerate(nights_by_cell(board.measurements).values()):
        lines = history.lines_of(its) if len(its) > 1 else []
        if not lines:
            single += 1
            continue
        newest = its[-1]
        found = verdicts.of_cell(board.report, newest.configuration, newest.weights)
        worst = f" · {verdicts.WORDS[found[0].judged.verdict]}" if found else ""
        said.append(f'<details id="cell-{number}"><summary>{in_html(data.identity(newest))}: {len(its)} nights{worst}')
        said.append("</summary><ul>")
        said += [f"<li>{markdown_html(verdicts.sentence(finding, board.missing))}</li>" for finding in found]
        said.append("</ul>")
        said += [
            figure_html(history.series_figure(line, board.missing), f"cell-{number}-{line.quantity}", line.title)
            for line in lines
        ]
        said.append("</details>")
    if single:
        said.append(f'<p class="quiet">{single} cells were measured in one night, or never ended well: no figure.</p>')
    return said


# HTML


def page(title: str, body: Iterable[str], policy: str = POLICY) -> str:
    return "\n".join(
        [
            f"<!doctype html>{MARK}",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{in_html(title)}</title>",
            '<link rel="stylesheet" href="look.css">',
            '<link rel="alternate" type="application/atom+xml" title="Regressions" href="feed.xml">',
            '<script defer src="plotly.min.js"></script><script defer src="look.js"></script>',
            "</head><body>",
            *body,
            "</body></html>",
            "",
        ]
    )


def plain_figure(figure: go.Figure) -> dict:
    """As Plotly's JSON without colours of its own, which are the page's."""
    content = json.loads(figure.to_json())
    content["layout"].pop("template", None)
    return content


def figure_html(figure: go.Figure, name: str, alt: str) -> str:
    """The figure as JSON beside its place; the script `look.js` draws it."""
    text = json.dumps(plain_figure(figure)).replace("<", "\\u003c")  # nothing in it can end the element
    return (
        f'<script type="application/json" id="{name}">{text}</script>'
        f'<div class="figure" data-figure="{name}" role="img" aria-label="{in_html(alt)}"></div>'
    )


def table_html(table: pandas.DataFrame, formats: Mapping[str, str] = {}, links: Mapping[str, str] = {}) -> str:  # noqa: B006
    """`formats`: of number columns, as sprintf writes them. `links`: pages that values of the first column lead to."""
    head = "".join(f"<th>{in_html(name)}</th>" for name in table.columns)
    lines = []
    for record in table.to_dict("records"):
        parts = []
        for place, (name, value) in enumerate(record.items()):
            known = not pandas.isna(value)
            text = (formats[name] % value if name in formats else value) if known else cells.DASH
            shown = in_html(text)
            if place == 0 and value in links:
                shown = f'<a href="{quote(links[value])}">{shown}</a>'
            kind = ' class="number"' if name in formats else ""
            parts.append(f"<td{kind}>{shown}</td>")
        lines.append(f"<tr>{''.join(parts)}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def markdown_html(text: str) -> str:
    """The little Markdown of our own sentences: bold, code, a colour's name dropped, and what was escaped."""
    escaped: list[str] = []

    def keep(match: re.Match) -> str:
        escaped.append(in_html(match[1]))
        return f"\x00{len(escaped) - 1}\x00"

    text = in_html(re.sub(r"\\(.)", lambda match: keep(match), text.replace("\x00", "")))
    text = re.sub(r":[a-z]+\[(.*?)\]", r"\1", text)
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub("\x00(\\d+)\x00", lambda match: escaped[int(match[1])], text)
