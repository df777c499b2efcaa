"""Detector and recogniser of PP-OCRv6 with settings that suit crops and pages: a picture in, lines out."""

from __future__ import annotations

from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rapidocr
from numpy.typing import NDArray

from ....manga.lines import TextLine, sides
from .polygons import Polygon, as_points, box_area, common_area

Pixels = NDArray[np.uint8]

CROP_SIDE = 640
"""Longest side, in pixels, up to which a picture is taken for a crop."""
PAGE_SIDE = 1600
"""Longest side at which larger pictures are detected: characters of 20 px on a scan of 2400 stay 13 px high."""
MOST_PIXELS = 8_000_000
"""Larger pictures are reduced: what the detector sees at PAGE_SIDE stays legible, and memory has a bound."""
SMALL_SIDE = 480
"""A smaller crop is detected at this size and at its own: enlarged, short columns of small characters are found (on
simulated scans at 15 to 20 px a character, errors fall from 7 % to 3 %); much larger, the detector reads worse."""
MOST_ENLARGED = 3.0
COVERED = 0.3
"""Share of a box inside another one's that makes it the same text, found twice."""
BORDER_SHARE = 1 / 6
"""Free border around a crop, of its shorter side: text that touches the edge is not found."""
LEAST_BORDER = 20
LEAST_CONFIDENCE = 0.55
"""Lines below it are more often wrong than right."""
LEAST_WHOLE_CONFIDENCE = 0.7
"""The same for a whole crop that is read without any line found: there is more to be wrong about."""
FREE_BEHIND = 1.0
"""Free room behind a line, of its height: the recogniser has learned from lines with some. Its own way is to fill up to
320 pixels, which a short column pays for with three times its width, and which a long one does not get: so, 270 drawn
crops have 1.25 % of wrong characters instead of 1.41 %, in a quarter less time."""
LEAST_WIDTH = 160
"""Pixels of a line as the recogniser sees it, `_LINE_HEIGHT` high."""
_LINE_HEIGHT = 48
_PADDING = (127, 127, 127)  # 0 for the network
CANDIDATES = 4
"""Shapes that the detector looks at for each line that a picture may have, specks among them; its own limit, which is
the least, would cut a picture of many lines short without a word."""
LEAST_CANDIDATES = 1000
LEAST_LINE = 2
"""Pixels: narrower ones cannot be read."""
FLAT = 12
"""Standard deviation (of values 0..255) in every channel below which a picture is blank."""
WHOLE_RATIO = 1.3
"""A crop this many times taller than wide is read as one column when no line was found."""

_MODELS = Path(rapidocr.__file__).parent / "models"
_COMMON = {
    "Global.log_level": "error",
    "Global.model_root_dir": _MODELS,  # a model that is not there would be downloaded
    "Global.use_cls": False,
    "Global.max_side_len": 100_000,
    "Global.text_score": 0.0,
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


class Engine:
    """Sessions of one thread, for one caller at a time: a second thread makes a crop three times slower.

    Args:
        max_lines: of a picture.
    """

    def __init__(self, max_lines: int) -> None:
        self._max_lines = max_lines

    def warm_up(self) -> None:
        """Run both networks once."""
        picture = np.full((64, 128, 3), 255, np.uint8)
        self.find(picture)
        self._recognise(picture)

    def find(self, bgr: Pixels) -> list[Polygon]:
        """Corners of a crop's lines; those of a small one also as they are found in it enlarged."""
        polygons = self.detect(bgr)
        scale = min(MOST_ENLARGED, SMALL_SIDE / max(bgr.shape[:2]))
        if scale <= 1:
            return polygons
        larger = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        enlarged = [polygon / scale for polygon in self.detect(larger.astype(np.uint8, copy=False))]
        return enlarged + [polygon for polygon in polygons if not _is_covered(polygon, enlarged)]

    def detect(self, bgr: Pixels) -> list[Polygon]:
        """Corners of the lines of a picture, clockwise from the top left."""
        detected = self._detector(bgr)
        return [] if detected.boxes is None else list(detected.boxes)

    def read_whole(self, padded: Pixels, border: int) -> list[TextLine]:
        """Read a crop in which no line was found as one line: sound effects and crops of two characters."""
        height, width = padded.shape[:2]
        inner = padded[border // 2 : height - border // 2, border // 2 : width - border // 2]
        text, confidence = self._recognise(_turn(inner))
        if confidence < LEAST_WHOLE_CONFIDENCE or not text or (len(text) == 1 and text.isascii()):
            return []  # a lone digit or letter is what shapes look like
        right, bottom = float(width - border), float(height - border)
        low = float(border)
        corners = ((low, low), (right, low), (right, bottom), (low, bottom))
        return [TextLine(corners, text, confidence, height > width)]

    def read_line(self, pixels: Pixels, polygon: Polygon, *, is_rgb: bool = False) -> tuple[str, float]:
        """Text and confidence of the line under a polygon, of a picture in BGR or RGB."""
        straight = straighten(pixels, polygon)
        if min(straight.shape[:2]) < LEAST_LINE:
            return "", 0.0
        return self._recognise(_turn(straight[:, :, ::-1] if is_rgb else straight))

    def _recognise(self, line: Pixels) -> tuple[str, float]:
        free = round(FREE_BEHIND * line.shape[0])
        answer = self._recogniser(cv2.copyMakeBorder(line, 0, 0, 0, free, cv2.BORDER_CONSTANT, value=_PADDING))
        if not answer.txts:
            return "", 0.0
        return answer.txts[0].strip(), float(answer.scores[0])

    @cached_property
    def _detector(self) -> Any:
        candidates = max(LEAST_CANDIDATES, CANDIDATES * self._max_lines)
        options = {"limit_type": "max", "limit_side_len": PAGE_SIDE, "max_candidates": candidates}
        return self._make({"Global.use_rec": False, **{f"Det.{name}": value for name, value in options.items()}})

    @cached_property
    def _recogniser(self) -> Any:
        shape = [3, _LINE_HEIGHT, LEAST_WIDTH]
        return self._make({"Global.use_det": False, "Rec.rec_batch_num": 1, "Rec.rec_img_shape": shape})

    def _make(self, params: dict[str, Any]) -> Any:
        """An instance of its own for each set of options: options of a call would stick to the next one."""
        return rapidocr.RapidOCR(params={**_COMMON, **params})


def reduce_size(rgb: Pixels) -> tuple[Pixels, float]:
    """A picture with at most `MOST_PIXELS`, and its scale."""
    scale = sqrt(MOST_PIXELS / (rgb.shape[0] * rgb.shape[1]))
    if scale >= 1:
        return rgb, 1.0
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False), scale


def with_border(bgr: Pixels) -> tuple[Pixels, int]:
    """A picture with a free border in the colour of its own edge, and the border's width."""
    is_crop = max(bgr.shape[:2]) <= CROP_SIDE
    border = max(LEAST_BORDER, round(min(bgr.shape[:2]) * BORDER_SHARE)) if is_crop else LEAST_BORDER
    edge = np.concatenate([bgr[0], bgr[-1], bgr[:, 0], bgr[:, -1]])
    colour = [int(value) for value in np.median(edge, axis=0)]
    padded = cv2.copyMakeBorder(bgr, border, border, border, border, cv2.BORDER_CONSTANT, value=colour)
    return padded.astype(np.uint8, copy=False), border


def _is_covered(polygon: Polygon, others: list[Polygon]) -> bool:
    """Whether a good part of a box lies in another one."""
    least = COVERED * box_area(polygon)
    return any(0 < common >= least for common in (common_area(polygon, other) for other in others))


def straighten(bgr: Pixels, polygon: Polygon) -> Pixels:
    """The upright rectangle under a polygon, of a picture with one channel or three."""
    width, height = (max(1, round(side)) for side in sides(as_points(polygon)))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(polygon.astype(np.float32), target)
    straight = cv2.warpPerspective(bgr, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return straight.astype(np.uint8, copy=False)


def _turn(line: Pixels) -> Pixels:
    """A column lying on its left side, as the recogniser has learned them; a row as it is."""
    height, width = line.shape[:2]
    return np.ascontiguousarray(np.rot90(line)) if height >= WHOLE_RATIO * width else line


def in_original(line: TextLine, border: int, scale: float) -> TextLine:
    """A line of the padded, perhaps reduced, picture with the places that it has in the original."""
    first, second, third, fourth = (((x - border) / scale, (y - border) / scale) for x, y in line.polygon)
    return TextLine((first, second, third, fourth), line.text, line.confidence, line.vertical)
