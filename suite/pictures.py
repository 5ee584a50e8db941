"""Pictures of others: PNG, JPEG and WEBP, and none that is larger than anyone looks at.

Pillow knows sixty formats by their content, whatever a file is called, and starts Ghostscript on one of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP")
LARGEST_PIXELS = 50_000_000  # 150 MB in memory; the suite looks at 224 × 224
SHOWN_BYTES = 16


class PictureError(ValueError):
    """No picture that is read here; says why."""


def read_picture(source: Path | BinaryIO) -> Image.Image:
    """In RGB. PictureError for another format, too many pixels, or what is damaged."""
    with _opened(source) as picture:
        return picture.convert("RGB")


def is_picture(path: Path) -> bool:
    """By the header alone: whether a reader of any format takes the file for one of the three."""
    try:
        with _opened(path):
            return True
    except PictureError:
        return False


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
            with Image.open(source, formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > LARGEST_PIXELS:
                    raise PictureError(f"it claims {width:,} × {height:,} pixels, at most {LARGEST_PIXELS:,} are read")
                yield picture
    except PictureError:
        raise
    except UnidentifiedImageError:
        begin = _beginning(source)
        raise PictureError(f"no {', '.join(FORMATS[:-1])} or {FORMATS[-1]}: it begins with {begin!r}") from None
    except Image.DecompressionBombError:
        raise PictureError(f"it claims far more pixels than the {LARGEST_PIXELS:,} that are read") from None
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes of the decoder, it is refused
        raise PictureError(f"damaged ({error})") from None


def _beginning(source: Path | BinaryIO) -> str:
    if isinstance(source, Path):
        with open(source, "rb") as file:
            begin = file.read(SHOWN_BYTES)
    else:
        source.seek(0)
        begin = source.read(SHOWN_BYTES)
    return begin.decode("latin-1")
