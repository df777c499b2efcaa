"""Measures the accuracy of the embedded reader on drawn crops and pages with known ground truth, by kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from PIL import Image
from rapidfuzz.distance import Levenshtein

from benchmarks.fonts import installed
from benchmarks.report import Result, report
from fixtures.comic_pages import KINDS as PAGE_KINDS
from fixtures.comic_pages import ComicPage, TrueBlock, draw_comic_page
from fixtures.drawing import HALO, KINDS, sample_bubbles
from fixtures.items import items_of
from llm_vision.manga.furigana import Furigana
from llm_vision.manga.page import ReadBlock, read_by_lines
from llm_vision.models.base import JsonObject, LoadContext
from llm_vision.models.families.rapidocr.model import RapidOcr
from llm_vision.models.tasks.reading import PageText, ReadPage

CROPS, PAGES = 600, 60
BATCH = 8
CLEAN = ("vertical", "horizontal")
MOST_CLEAN, MOST_ALL = 0.04, 0.12
LEAST_F1, LEAST_ORDER = 0.95, 0.97
SAME_BLOCK = 0.5
"""Minimum intersection over union for a found block to match a drawn one."""
PEER = "the drawn ground truth"


@dataclass
class Count:
    """Sums over crops or blocks."""

    texts: int = 0
    exact: int = 0
    errors: int = 0
    characters: int = 0

    def add(self, read: str, truth: str) -> None:
        """One more text."""
        self.texts += 1
        self.exact += read == truth
        self.errors += Levenshtein.distance(read, truth)
        self.characters += len(truth)

    @property
    def error_rate(self) -> float:
        """Share of wrong characters."""
        return self.errors / max(1, self.characters)


@dataclass
class Layout:
    """Sums over pages."""

    found: int = 0
    drawn: int = 0
    matched: int = 0
    pairs: int = 0
    ordered: int = 0

    @property
    def f1(self) -> float:
        """Harmonic mean of the blocks' precision and recall."""
        return 2 * self.matched / max(1, self.found + self.drawn)

    @property
    def words(self) -> str:
        """Precision and recall of the blocks, and their order."""
        return f"{self.matched / max(1, self.found):.3f}, {self.matched / max(1, self.drawn):.3f}; {self.order:.4f}"

    @property
    def order(self) -> float:
        """Share of a page's block pairs that are in the right order."""
        return self.ordered / max(1, self.pairs)


def main() -> int:
    fonts = installed()
    reader = RapidOcr()
    reader.load(LoadContext("cpu", 2))
    reader.threads = 2
    crops, furigana_left = _read_crops(reader, list(fonts.values()))
    texts, layouts = _read_pages(reader, list(fonts.values()))
    clean = _sum(crops[kind] for kind in CLEAN).error_rate
    every = _sum(crops.values()).error_rate
    page = Layout(*(sum(values) for values in zip(*(vars(one).values() for one in layouts.values()), strict=True)))
    print(f"{len(fonts)} fonts: {', '.join(fonts)}")
    rows: list[Sequence[object]] = [(f"{CROPS} crops: kind", "wrong characters", "exact")]
    rows += [(kind, f"{count.error_rate:.1%}", f"{count.exact / count.texts:.0%}") for kind, count in crops.items()]
    rows += [("", "", ""), (f"{PAGES} pages: kind", "wrong characters", "blocks: precision, recall; order of pairs")]
    rows += [(kind, f"{texts[kind].error_rate:.1%}", one.words) for kind, one in layouts.items()]
    return report(
        rows,
        _result("crops, clean", clean, clean <= MOST_CLEAN, f"<= {MOST_CLEAN}"),
        _result("crops, all kinds", every, every <= MOST_ALL, f"<= {MOST_ALL}"),
        _result("furigana in text", furigana_left, furigana_left == 0, "0"),
        _result("block F1", page.f1, page.f1 >= LEAST_F1, f">= {LEAST_F1}"),
        _result("reading order", page.order, page.order >= LEAST_ORDER, f">= {LEAST_ORDER}"),
    )


def _result(name: str, value: float, met: bool, target: str) -> Result:
    return Result(f"reading: {name}", round(value, 4), "share", PEER, None, target, met)


def _sum(counts: Iterator[Count] | Sequence[Count]) -> Count:
    return Count(*(sum(values) for values in zip(*(vars(count).values() for count in counts), strict=True)))


def _read_crops(reader: RapidOcr, fonts: Sequence[object]) -> tuple[dict[str, Count], float]:
    """Errors by kind, and the number of furigana readings left in the text."""
    samples = sample_bubbles(CROPS, seed=11, kinds=(*KINDS, HALO), fonts=fonts)  # type: ignore[arg-type]
    counts: dict[str, Count] = defaultdict(Count)
    left = 0
    for start in range(0, len(samples), BATCH):
        part = samples[start : start + BATCH]
        results = _predict(reader, [picture for picture, _, _ in part], language="ja", furigana="strip")
        for result, (_, truth, kind) in zip(results, part, strict=True):
            counts[kind].add(result["text"], truth)
            left += kind == "furigana" and len(result["text"]) > len(truth) + 1
    return counts, float(left)


def _read_pages(reader: RapidOcr, fonts: Sequence[object]) -> tuple[dict[str, Count], dict[str, Layout]]:
    texts: dict[str, Count] = defaultdict(Count)
    layouts: dict[str, Layout] = defaultdict(Layout)
    for number in range(PAGES):
        kind = PAGE_KINDS[number % len(PAGE_KINDS)]
        page = draw_comic_page(kind, 100 + number, tuple(fonts))  # type: ignore[arg-type]
        blocks = _blocks(reader, page)
        places = _matches(page.blocks, blocks)
        one = layouts[kind]
        one.found += len(blocks)
        one.drawn += len(page.blocks)
        one.matched += len(places)
        one.pairs += len(places) * (len(places) - 1) // 2
        one.ordered += sum(places[first] < places[second] for first, second in combinations(sorted(places), 2))
        for drawn, found in places.items():
            texts[kind].add(blocks[found].text, page.blocks[drawn].text)
    return texts, layouts


def _blocks(reader: RapidOcr, page: ComicPage) -> list[ReadBlock]:
    (result,) = _predict(reader, [page.picture], **ReadPage("ja").as_json())
    return [read_by_lines(block, "rapidocr", furigana=Furigana.STRIP) for block in PageText.from_json(result).blocks]


def _matches(drawn: Sequence[TrueBlock], found: Sequence[ReadBlock]) -> dict[int, int]:
    """For each drawn block that was found, the number of the matching block."""
    matched = {}
    for number, truth in enumerate(drawn):
        shares = [_overlap(truth.box, block.block.box) for block in found]
        if shares and max(shares) >= SAME_BLOCK:
            matched[number] = shares.index(max(shares))
    return matched


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def _predict(reader: RapidOcr, pictures: Sequence[Image.Image], **options: object) -> list[JsonObject]:
    items = items_of(pictures)
    for item in items:
        item.params = dict(options)
    results = reader.predict(items)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return list(results)  # type: ignore[arg-type]
