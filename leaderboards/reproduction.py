"""The paper's optimizations beside ours: what it found, what is measured here, and whether the two agree.

Zhang, Li, Oymak, Chen, EMS'23, doi:10.1145/3609395.3610594. Its models, weights, prompts and devices are others, so the
figures are not expected to be equal; what is compared is the finding: does this optimization cost quality?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from leaderboards import cells, markdown
from leaderboards.tables import GENERATED
from suite.catalogue.optimizations import REFERENCE
from suite.records import PublishedRow, Status

HEADING = "# The paper's optimizations, reproduced"
INTRODUCTION = (
    "Left the paper's figures, right ours: rows of the embedded models unless another is named, each against its own "
    "fp32 on the same prompts and noise, with the 95 % interval of the difference in pairs. Why they differ: "
    "[docs/reproduction.md](../../docs/reproduction.md)."
)
# The paper's recipe, and ours in the order of how near they are. The ONNX graphs on a processor are those that TensorRT
# runs, so their quality stands for it.
QUANTIZATION = {
    "int8-fbgemm-linear": ("int8-fbgemm-linear", "int8-torchao-linear", "int8-qnnpack-linear"),
    "int8-tensorrt-linear": ("int8-tensorrt-linear", "int8-onnx-linear"),
    "int8-tensorrt-all": ("int8-tensorrt-all", "int8-onnx-all"),
}
LOSS = 0.03  # of R-Precision: what is smaller is called no loss


def to_markdown(rows_by_device: Mapping[str, Sequence[PublishedRow]]) -> str:
    """The page; without what was not measured."""
    rows = [row for rows in rows_by_device.values() for row in rows]
    return (
        "\n\n".join([GENERATED, HEADING, INTRODUCTION, *_quantization(rows), *_steps(rows), *_latency_quality(rows)])
        + "\n"
    )


def _quantization(rows: Sequence[PublishedRow]) -> list[str]:
    paper = {row.optimization: row for row in rows if row.source == "published" and row.speedup_vs_original is not None}
    original = next((row.r_precision for row in paper.values() if row.optimization == "original"), None)
    name = _namer(rows)
    lines = []
    for recipe, ours in QUANTIZATION.items():
        theirs = paper.get(recipe)
        if theirs is None:
            continue
        said = [
            recipe,
            cells.times(theirs.speedup_vs_original),
            f"{_share(original)} → {_share(theirs.r_precision)}",
        ]
        found = _measured(rows, ours) or [None]
        for k, row in enumerate(found):
            lines.append([*(said if k == 0 else [""] * len(said)), *_ours(row, name), verdict(row)])
    heads = ["paper", "speed", "R-Precision", "ours", "speed", "R-Precision", "against fp32", "the paper's loss"]
    return ["## 32 to 8 bits", markdown.table(heads, lines)] if lines else []


def _steps(rows: Sequence[PublishedRow]) -> list[str]:
    """The paper's words are that quality falls severely at few steps, and that distillation is needed."""
    fewer = ("steps-", "dpmpp-", "euler-", "ddim-", "unipc-", "one-evaluation", "distilled-")
    names = list(dict.fromkeys(r.optimization for r in rows if r.optimization.startswith(fewer)))
    found = _measured(rows, names)
    if not found:
        return []
    name = _namer(rows)
    lines = [[*_ours(row, name), verdict(row)] for row in found]
    heads = ["ours", "speed", "R-Precision", "against fp32", "the paper's severe loss"]
    return ["## Fewer steps", markdown.table(heads, lines)]


def _latency_quality(rows: Sequence[PublishedRow]) -> list[str]:
    """The points of the paper's figure, and our references, slowest last."""
    points = [r for r in rows if r.source == "published" and r.latency_s is not None]
    points += [r for r in _scored(rows) if r.optimization == REFERENCE]
    points = [row for row in points if row.latency_s is not None and row.r_precision is not None]
    if not points:
        return []
    name = _namer(rows)
    lines = [
        [row.source, name(row), cells.latency(row), cells.r_precision(row)]
        for row in sorted(points, key=lambda row: (row.source == "measured", row.device, row.latency_s))
    ]
    heads = ["source", "configuration", "latency", "R-Precision"]
    return ["## Latency and quality", markdown.table(heads, lines)]


def verdict(row: PublishedRow | None) -> str:
    """Whether the loss that the paper found is found here, by the interval of the difference in pairs."""
    if row is None:
        return "not measured"
    low, high = row.quality_difference_low, row.quality_difference_high
    if low is None or high is None:
        return "not scored in pairs"
    if high < 0:
        return "found"
    return f"not found: more than {LOSS:.0%} is excluded" if low > -LOSS else "undecided"


def _namer(rows: Sequence[PublishedRow]) -> Callable[[PublishedRow], str]:
    """A configuration's id, and its board where several measured it: their rows stand side by side."""
    boards: dict[str, set[str | None]] = {}
    for row in _scored(rows):
        boards.setdefault(row.configuration, set()).add(row.board)

    def name(row: PublishedRow) -> str:
        several = row.source == "measured" and len(boards.get(row.configuration, ())) > 1
        return f"{row.configuration} ({row.board or 'unknown board'})" if several else row.configuration

    return name


def _ours(row: PublishedRow | None, name: Callable[[PublishedRow], str]) -> list[str]:
    if row is None:
        return [cells.DASH] * 4
    return [name(row), cells.speedup(row), cells.r_precision(row), cells.quality_difference(row)]


def _measured(rows: Sequence[PublishedRow], recipes: Sequence[str]) -> list[PublishedRow]:
    """Rows of these recipes, in this order of recipes within each model."""
    found = [row for row in _scored(rows) if row.optimization in recipes]
    return sorted(found, key=lambda row: (row.model, row.device, list(recipes).index(row.optimization)))


def _scored(rows: Sequence[PublishedRow]) -> list[PublishedRow]:
    return [row for row in rows if row.source == "measured" and row.status == Status.OK and row.r_precision is not None]


def _share(value: float | None) -> str:
    return cells.DASH if value is None else f"{100 * value:.1f} %"
