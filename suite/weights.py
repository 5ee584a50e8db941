"""Get the published weights and captions, and see what is here. Nothing else in the suite downloads.

    python -m suite.weights list
    python -m suite.weights fetch point-e-40m-text        # a model: its networks, and what judges it
    python -m suite.weights fetch upsample_40m coco       # a checkpoint; captions and judge; coco-images: pictures
    python -m suite.weights verify                        # take every hash again
    python -m suite.weights unpin upsample_40m            # forget a hash that was pinned to a wrong file

The files lie in $TEXT3D_WEIGHTS, else in the user's cache; docs/weights.md has the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from suite.catalogue.models import MODELS
from suite.command_line import command
from suite.models.checkpoints.download import Report
from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError
from suite.models.checkpoints.hub_cache import CONVERSIONS, snapshot_name
from suite.models.checkpoints.official import (
    accept_checkpoint,
    cache_folder,
    expected,
    fetch,
    given_folder,
    hub_file,
    in_hub_cache,
    verified,
    where,
    whole_conversion,
)
from suite.models.checkpoints.official_files import MODEL_FILES, OFFICIAL, find_official
from suite.models.checkpoints.pins import RemoteFile, read_pins, unpin
from suite.names import UnknownName, unknown
from suite.prompts import COCO_CAPTIONS, COCO_PICTURES, accept_zip, fetch_captions, fetch_pictures, read_coco

CAPTIONS, PICTURES = "coco-captions", "coco-images"
COCO = (CAPTIONS, "clip-vit-b-32")  # what scores a full-size model
GROUPS = {"coco": COCO} | {model: (*files, *COCO) for model, files in MODEL_FILES.items()}


def names_of(asked: str) -> tuple[str, ...]:
    """The files that a model, a group or a file's own name stands for."""
    if asked in GROUPS:
        return GROUPS[asked]
    if asked in (CAPTIONS, PICTURES):
        return (asked,)
    try:
        return (find_official(asked).stem,)
    except UnknownName:
        raise unknown("model or file", asked, {*GROUPS, *OFFICIAL, CAPTIONS, PICTURES}) from None


def file_of(name: str) -> RemoteFile:
    return {CAPTIONS: COCO_CAPTIONS, PICTURES: COCO_PICTURES}.get(name) or find_official(name)


def fetcher_of(name: str) -> Callable[[Report], Path]:
    others = {CAPTIONS: fetch_captions, PICTURES: fetch_pictures}
    return others.get(name) or (lambda report: fetch(find_official(name), report))


def fetch_all(asked: list[str]) -> None:
    if (given := given_folder()) is not None:
        raise WeightsError(f"nothing is downloaded while files are read from {given} (TEXT3D_WEIGHTS_DIR)")
    for name in dict.fromkeys(name for one in asked for name in names_of(one)):
        with bar(file_of(name).name) as report:
            path = fetcher_of(name)(report)
        print(path)
    if painted := [one for one in asked if one in MODELS and "text-to-image" in MODELS[one].stages]:
        print(
            f"{', '.join(painted)}: pictures too, from a text-to-image pipeline or a folder: docs/weights.md, Pictures"
        )


@contextmanager
def bar(name: str) -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda here, total: progress.update(task, completed=here, total=total)


def list_all() -> None:
    folder = given_folder() or cache_folder()
    print(f"folder: {folder}")
    for name in (*OFFICIAL, CAPTIONS, PICTURES):
        file = file_of(name)
        path = folder / file.name
        here = path.is_file() or whole_conversion(file) is not None
        in_hub = None if here else in_hub_cache(name)
        elsewhere = "converted" if here else "in Hub's cache" if in_hub else "not here"
        state = f"{path.stat().st_size / 1e6:12.1f} MB" if path.is_file() else f"{elsewhere:>15}"
        known = expected(file)
        source = file.url if in_hub is None else f"{CONVERSIONS[name][0]}, snapshot {snapshot_name(in_hub)}"
        print(f"{name:20} {state}  {'no hash yet     ' if known is None else known[:16]}  {source}")
    print(f"models: {', '.join(MODEL_FILES)}")


def verify_all(asked: list[str]) -> bool:
    """Take the hash of what is here again; False if a file is not what it should be."""
    sound = True
    for name in dict.fromkeys(name for one in asked or (*OFFICIAL, CAPTIONS, PICTURES) for name in names_of(one)):
        file = file_of(name)
        accept = {CAPTIONS: read_coco, PICTURES: accept_zip}.get(name) or partial(accept_checkpoint, file)
        try:
            path, found = verified(file, name, accept)
            print(f"{path}: {found} ({where(file)})")
        except WeightsAbsent as error:
            if asked:
                print(error)
                sound = False
        except WeightsError as error:
            print(error)
            sound = False
    return sound


def unpin_all(asked: list[str]) -> None:
    """Forget pinned hashes, so that the next sound file is pinned: by model, by file, or as a refusal names it."""
    folder = cache_folder()
    for one in asked:
        names = [one] if one in read_pins(folder) else [file for name in names_of(one) for file in _pinned_as(name)]
        for name in names:
            known = unpin(name, folder)
            print(f"{name}: nothing is pinned in {folder}" if known is None else f"{name}: {known} is no longer pinned")


def _pinned_as(name: str) -> list[str]:
    return [file_of(name).name] + ([hub_file(name).name] if name in CONVERSIONS else [])


@command
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m suite.weights", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what there is, and what of it is here")
    get = commands.add_parser("fetch", help="download what is not here, resuming what was interrupted")
    get.add_argument("names", nargs="+", metavar="NAME", help="models, files, or coco")
    check = commands.add_parser("verify", help="take every hash again")
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all that is here")
    forget = commands.add_parser("unpin", help="forget the pinned hash of a file that was the wrong one")
    forget.add_argument("names", nargs="+", metavar="NAME", help="models or files")
    options = parser.parse_args(argv)
    try:
        if options.command == "list":
            list_all()
        elif options.command == "fetch":
            fetch_all(options.names)
        elif options.command == "unpin":
            unpin_all(options.names)
        elif not verify_all(options.names):
            return 1
    except BrokenPipeError:
        raise
    except (WeightsError, UnknownName, OSError) as error:
        print(f"python -m suite.weights: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what is here is kept, and the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
