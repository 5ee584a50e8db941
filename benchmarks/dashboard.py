"""How long the dashboard's pages and the commands take on a history and on tables of a given size.

    python -m benchmarks.dashboard --records 10000 --files 200 --rows 10000

Writes a synthetic history and table (`benchmarks/synthetic.py`) into a temporary folder, then opens each page through
Streamlit's AppTest, cold and three times warm, and starts each command twice, the first without an index. Processor
seconds, beside the wall's: on a shared machine the latter are those of the neighbours too.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks import synthetic

ROOT = Path(__file__).parents[1]
PAGES = ("frontier", "stages", "history", "compare")
COMMANDS = (
    ("leaderboards", "frontier"),
    ("leaderboards", "publish", "--output", "{scratch}"),
    ("leaderboards", "best"),
    ("leaderboards", "compare"),
    ("suite.nights",),
)
LINE = "{:34} {:>10} {:>10} {:>10} {:>10}"


def timed(action) -> tuple[float, float]:
    """(processor, wall) seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return time.process_time() - processor, time.perf_counter() - wall


def written(scratch: Path, options: argparse.Namespace) -> int:
    """Bytes of the history that was made below the folder, beside the tables."""
    files = list(synthetic.write(scratch / "runs", options.records, options.files, options.prompts))
    synthetic.published(scratch / "tables", options.rows)
    return sum(path.stat().st_size for path in files)


def page(name: str) -> None:
    """Opens a page cold and three times warm, as TEXT3D_PUBLISHED and TEXT3D_HISTORY say, and prints what it took."""
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=1200)
    app.switch_page(f"screens/{name}.py")
    cold = timed(app.run)
    if app.exception:
        raise RuntimeError(app.exception[0].message)
    warm = sorted(timed(app.run) for _ in range(3))
    figures = [len(figure.proto.spec) for figure in app.get("plotly_chart")]
    tables = [len(table.proto.arrow_data.data) for table in app.get("arrow_data_frame")]
    print(f"  first {cold[0]:.2f} s ({cold[1]:.2f} wall), again {', '.join(f'{p:.2f}' for p, _ in warm)} s")
    print(f"  figure {max(figures, default=0) / 1e6:.2f} MB, table {max(tables, default=0) / 1e6:.2f} MB")
    print(f"  at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB of memory")


def run(arguments: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """(processor s, wall s, peak MB) of a Python process."""
    wall = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *arguments], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):  # 1: regressed
        raise RuntimeError(f"{' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - wall, used.ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--rows", type=int, default=1000, help="of the published table")
    parser.add_argument("--page", choices=PAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.page:
        return page(options.page)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        runs = scratch / "runs"
        # In a process of its own: what this one holds would count as its children's peak.
        with ProcessPoolExecutor(1) as pool:
            size = pool.submit(written, scratch, options).result()
        print(f"{options.records:,} records in {options.files:,} files, {size / 1e6:,.0f} MB; {options.rows:,} rows")
        places = {"TEXT3D_INDEX": "index", "TEXT3D_PUBLISHED": "tables", "TEXT3D_HISTORY": "runs"}
        environment = os.environ | {name: str(scratch / place) for name, place in places.items()}
        time.sleep(2)  # files that are younger are not trusted
        print(LINE.format("command", "processor", "wall", "peak MB", ""))
        for command in COMMANDS:
            arguments = [*(word.format(scratch=scratch / "out") for word in command), "--history", str(runs)]
            for _ in range(2 if command == COMMANDS[0] else 1):
                figures = (f"{figure:.2f}" for figure in run(arguments, environment))
                print(LINE.format(" ".join(command[:2]), *figures, ""), flush=True)
        for name in PAGES:
            print(name, flush=True)
            command = [sys.executable, "-m", "benchmarks.dashboard", "--page", name]
            subprocess.run(command, check=True, env=environment, cwd=ROOT)


if __name__ == "__main__":
    main()
