"""Pictures of objects put together for people. Without torch: what draws an object is `suite/metrics/pictures.py`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

SIZE_PX = 224  # of an object's picture
LINE_PX = 34  # below it, for two lines of its caption
COLUMNS = 4
TEXT_PX = 11
LABEL_PX = 250  # left of a row, for its recipe


def place(number: int) -> tuple[int, int]:
    """Left and top of a picture in a contact sheet."""
    return number % COLUMNS * SIZE_PX, number // COLUMNS * (SIZE_PX + LINE_PX)


def contact_sheet(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Pictures of SIZE_PX, four in a row, with their captions below."""
    rows = -(-len(captions) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIZE_PX, rows * (SIZE_PX + LINE_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (picture, caption) in enumerate(zip(pictures, captions)):
        left, top = place(number)
        sheet.paste(picture, (left, top))
        draw.multiline_text((left + 6, top + SIZE_PX), _wrapped(caption, 34, 2), "black", _font(), spacing=1)
    return sheet


def pictures_of(sheet: Image.Image, count: int) -> list[Image.Image]:
    """The first pictures of a contact sheet. ValueError where it is too small to hold them."""
    right, bottom = COLUMNS * SIZE_PX, -(-count // COLUMNS) * (SIZE_PX + LINE_PX)
    if sheet.width < right or sheet.height < bottom:
        raise ValueError(
            f"a contact sheet of {count} pictures has {right} × {bottom} px, this {sheet.width} × {sheet.height}"
        )
    boxes = [(*place(number), place(number)[0] + SIZE_PX, place(number)[1] + SIZE_PX) for number in range(count)]
    return [sheet.crop(box) for box in boxes]


def side_by_side(rows: Sequence[tuple[str, Sequence[Image.Image]]], captions: Sequence[str]) -> Image.Image:
    """A row a recipe with its label at the left, a column a prompt with its caption above. Labels may have lines."""
    width = LABEL_PX + len(captions) * SIZE_PX
    sheet = Image.new("RGB", (width, LINE_PX + len(rows) * (SIZE_PX + 6)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, caption in enumerate(captions):
        draw.multiline_text((LABEL_PX + column * SIZE_PX + 6, 2), _wrapped(caption, 34, 2), "black", _font(), spacing=1)
    for number, (label, pictures) in enumerate(rows):
        top = LINE_PX + number * (SIZE_PX + 6)
        draw.line((0, top - 3, width, top - 3), "lightgray")
        draw.multiline_text((8, top + SIZE_PX // 3), _broken(label), "black", _font(13), spacing=4)
        for column, picture in enumerate(pictures[: len(captions)]):
            sheet.paste(picture, (LABEL_PX + column * SIZE_PX, top))
    return sheet


def _font(size_px: int = TEXT_PX) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size_px)


def _broken(label: str) -> str:
    """Composed recipes' names are long: each line of a label goes on behind a plus sign."""
    lines = [part for line in label.split("\n") for part in textwrap.wrap(line.replace("+", "+ "), 32)]
    return "\n".join(line.replace("+ ", "+") for line in lines)


def _wrapped(text: str, width: int, lines: int) -> str:
    return "\n".join(textwrap.wrap(text, width)[:lines])
