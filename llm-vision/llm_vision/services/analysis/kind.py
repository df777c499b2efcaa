"""What kind of picture it is: photo, comic page, document or drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, groupby

from PIL import Image, ImageChops, ImageFilter

from ...manga.lines import TextLine

LOOK_SIDE = 512
"""Enough for a comic's frames and a page's lines to survive; 12 megapixels take some 65 ms."""
EDGE = 10
STRONG_EDGE = 49
"""Differences between neighbouring pixels: below EDGE noise and shade, above STRONG_EDGE ink and cut-outs."""
FLAT_OF_PHOTO = 0.22
"""Sensors and lenses leave hardly two pixels alike: measured 0 to 0.18 on photos, 0.25 to 0.99 on drawn pages."""
SOFT_OF_CUT_OUT = 0.5
TONES_OF_CUT_OUT = 30
FLAT_OF_CUT_OUT = 0.8
"""A photographed thing on plain white is flat around, but soft and of many tones within; on a chart so little
is not flat that its labels' soft edges look the same."""
CONTRAST_OF_PRINT = 80
STRONG_OF_PRINT = 0.1
PAPER_OF_PRINT = 0.5
"""Grain makes scanned pages uneven everywhere, but half of a page is paper, and a tenth borders on ink."""
INK = 128
SEGMENTS = 6
LINE_FILL = 0.8
LINE_WIDTH = 9
"""A frame's line covers a sixth of the page nearly without gaps and, at LOOK_SIDE, is a few pixels wide."""
FRAME_LINES = 10
"""Both across and down; measured from 10 on comic pages, while text and tables have lines in one direction."""
PAPER_OF_DIAGRAM = 0.88
"""Boxes on more white than this are a diagram; comic pages are fuller."""

COMIC_LABEL = "comic book"
PAGE_LABELS = ("web site", "menu")
"""ImageNet's classes of comics and of pages with text; the classifier knows screenshots well."""
COMIC_CONFIDENCE = 0.2
PAGE_CONFIDENCE = 0.25
PAGE_CONFIDENCE_FRAMED = 0.4
"""A comic with much white resembles a web site a little."""
TEXT_OF_PAGE = 0.12
TEXT_OF_PHOTOGRAPHED_PAGE = 0.25
"""Shares of the picture's area; a photo of a street has signs, a photo of a letter is mostly text."""
LINES_OF_PAGE = 3
THICKEST_LINE = 0.1
"""Readers see a letter or two in round or square shapes, but those are few and large."""
VERTICAL_OF_COMIC = 0.5
"""Of the lines. Vertical text without frames is a novel or the axis of a chart."""


class PictureKind(StrEnum):
    """The kinds that are distinguished."""

    PHOTO = "photo"
    COMIC = "comic page"
    DOCUMENT = "document or screenshot"
    DRAWING = "drawing"


@dataclass(frozen=True)
class Look:
    """What the pixels show, measured at LOOK_SIDE."""

    flat: float
    """Share of pixels that equal all their neighbours."""
    soft: float
    """Share of soft ones among the edges."""
    strong: float
    """Share of pixels beside one of CONTRAST_OF_PRINT."""
    tones: int
    """Colours (of 4096) that make up nine tenths of what is not flat."""
    paper: float
    """Share of pixels about as bright as the commonest brightness."""
    frame_lines: int
    """Long thin straight lines across or down, whichever are fewer."""

    @property
    def is_photographic(self) -> bool:
        is_rich = self.tones >= TONES_OF_CUT_OUT
        if self.flat < FLAT_OF_PHOTO:
            return is_rich or self.paper < PAPER_OF_PRINT or self.strong < STRONG_OF_PRINT
        return is_rich and self.soft >= SOFT_OF_CUT_OUT and self.flat < FLAT_OF_CUT_OUT

    @property
    def is_framed(self) -> bool:
        return self.frame_lines >= FRAME_LINES and self.paper < PAPER_OF_DIAGRAM


def recognize_kind(
    picture: Image.Image,
    lines: Sequence[TextLine] = (),
    labels: Mapping[str, float] | None = None,
    size: tuple[int, int] | None = None,
) -> PictureKind:
    """The kind of the picture.

    Args:
        picture: any size, RGB.
        lines: the text that was read in it, if it was.
        labels: ImageNet names and their confidences, if a classifier saw it.
        size: width and height in which the lines are given, if `picture` is a reduced copy.
    """
    look = measure(picture)
    width, height = size or picture.size
    comic = (labels or {}).get(COMIC_LABEL, 0.0)
    page = sum((labels or {}).get(name, 0.0) for name in PAGE_LABELS)
    if comic >= COMIC_CONFIDENCE and comic > page:
        return PictureKind.COMIC
    if page >= (PAGE_CONFIDENCE_FRAMED if look.is_framed else PAGE_CONFIDENCE):
        return PictureKind.DOCUMENT
    running = [line for line in lines if _thickness(line) <= THICKEST_LINE * max(width, height)]
    text = sum(_area(line) for line in running) / (width * height)
    if len(running) >= LINES_OF_PAGE and text >= (TEXT_OF_PHOTOGRAPHED_PAGE if look.is_photographic else TEXT_OF_PAGE):
        is_vertical = sum(line.vertical for line in running) > VERTICAL_OF_COMIC * len(running)
        return PictureKind.COMIC if is_vertical and look.is_framed else PictureKind.DOCUMENT
    if look.is_photographic:
        return PictureKind.PHOTO
    return PictureKind.COMIC if look.is_framed else PictureKind.DRAWING


def measure(picture: Image.Image) -> Look:
    """Look at a reduced copy of the picture."""
    small = picture.convert("RGB")
    if max(small.size) > LOOK_SIDE:
        scale = LOOK_SIDE / max(small.size)
        size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
        small = small.resize(size, Image.Resampling.BOX)
    gray = small.convert("L")
    pixels = gray.width * gray.height
    spread = ImageChops.subtract(gray.filter(ImageFilter.MaxFilter(3)), gray.filter(ImageFilter.MinFilter(3)))
    differences = spread.histogram()
    edges = sum(differences[EDGE:])
    brightness = [0] * 8 + gray.histogram() + [0] * 8
    return Look(
        flat=differences[0] / pixels,
        soft=sum(differences[EDGE:STRONG_EDGE]) / edges if edges else 0.0,
        strong=sum(differences[CONTRAST_OF_PRINT:]) / pixels,
        tones=_count_tones(small, spread),
        paper=max(sum(brightness[value : value + 17]) for value in range(256)) / pixels,
        frame_lines=_count_frame_lines(gray),
    )


def _count_tones(small: Image.Image, spread: Image.Image) -> int:
    not_flat = spread.point([0] + [255] * 255)
    black = (0, 0, 0)
    coarse = Image.composite(small, Image.new("RGB", small.size, black), not_flat).point(lambda value: value >> 4)
    colors = coarse.getcolors(4096) or []
    counts = sorted((count for count, color in colors if color != black), reverse=True)
    return sum(so_far < 0.9 * sum(counts) for so_far in accumulate(counts, initial=0)) if counts else 0


def _count_frame_lines(gray: Image.Image) -> int:
    thick = gray.point([255] * INK + [0] * (256 - INK)).filter(ImageFilter.MaxFilter(3))
    turned = thick.transpose(Image.Transpose.ROTATE_90)
    return min(_count_lines_across(thick), _count_lines_across(turned))


def _count_lines_across(ink: Image.Image) -> int:
    """Thin dark runs, counted down the page in each of its SEGMENTS columns."""
    columns = ink.resize((SEGMENTS, ink.height), Image.Resampling.BOX).tobytes()
    count = 0
    for column in range(SEGMENTS):
        is_dark = [value >= LINE_FILL * 255 for value in columns[column::SEGMENTS]]
        count += sum(dark and len(list(run)) <= LINE_WIDTH for dark, run in groupby(is_dark))
    return count


def _area(line: TextLine) -> float:
    """In square pixels, by the shoelace formula."""
    pairs = zip(line.polygon, [*line.polygon[1:], line.polygon[0]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


def _thickness(line: TextLine) -> float:
    """Across the direction of reading, in pixels."""
    places = [point[0 if line.vertical else 1] for point in line.polygon]
    return max(places) - min(places)
