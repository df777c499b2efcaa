"""The embedded reader on drawn crops and a page: the real model, in this process."""

from __future__ import annotations

import string
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rapidfuzz.distance import Levenshtein

from fixtures.counts import THREADS, many
from fixtures.drawing import draw_bubble, draw_screentone, draw_words, sample_bubbles, worn
from fixtures.items import PlainItem
from fixtures.pages import draw_page
from fixtures.sentences import FURIGANA
from fixtures.stepped import Heard, serve
from fixtures.waiting import PATIENCE, eventually
from llm_vision.errors import ClientClosed
from llm_vision.models.base import Item, JsonObject, LoadContext
from llm_vision.models.families.rapidocr.engine import Engine
from llm_vision.models.families.rapidocr.model import RapidOcr
from llm_vision.models.families.rapidocr.side_by_side import LARGE_SECONDS, Engines
from llm_vision.models.parts import PartedRequests, Steps


class PictureItem(Item):
    """An item without a worker process."""

    cancelled = False

    def __init__(
        self, picture: Image.Image, language: str = "ja", furigana: str = "strip", mode: str = "crop", **options: Any
    ) -> None:
        self.images = (np.asarray(picture.convert("RGB")),)
        page = {"read": True, "reading_order": "auto"} if mode == "page" else {}
        self.params = {"language": language, "furigana": furigana, "mode": mode, **page, **options}

    def send_token(self, text: str) -> None:
        raise AssertionError("reading sends no tokens")


@pytest.fixture(scope="module")
def reader() -> RapidOcr:
    model = RapidOcr()
    model.load(LoadContext(device="cpu", threads=THREADS))
    return model


def read(reader: RapidOcr, picture: Image.Image, **options: Any) -> JsonObject:
    (result,) = reader.predict([PictureItem(picture, **options)])
    assert not isinstance(result, Exception), result
    return result


def test_columns_are_read_from_the_right(reader: RapidOcr) -> None:
    picture, text = draw_bubble(["この道を", "まっすぐ行けば", "海に出るよ"], 30)
    result = read(reader, picture)
    assert result["text"] == text
    assert [line["vertical"] for line in result["lines"]] == [True] * 3
    assert 0.8 < result["confidence"] <= 1


def test_rows_are_read_from_the_top(reader: RapidOcr) -> None:
    picture, text = draw_bubble(["電車に", "乗り遅れた！"], 30, vertical=False)
    assert read(reader, picture)["text"] == text


def test_lines_lie_where_they_are_in_the_picture(reader: RapidOcr) -> None:
    picture, _ = draw_bubble(["明日は早く", "起きよう"], 40, margin=20)
    first, second = (np.array(line["polygon"]) for line in read(reader, picture)["lines"])
    assert abs(first[:, 0].mean() - (20 + 40 * 2)) < 12
    assert abs(second[:, 0].mean() - (20 + 40 * 0.5)) < 12
    assert abs(first[:, 1].min() - 20) < 12
    assert abs(first[:, 1].max() - (20 + 5 * 40)) < 12


def test_furigana_are_left_out_unless_asked_for(reader: RapidOcr) -> None:
    picture, text = draw_bubble(["先生、質問が", "あります"], 36, furigana=FURIGANA)
    assert read(reader, picture)["text"] == text
    kept = read(reader, picture, furigana="keep")["text"]
    assert "せんせい" in kept
    assert len(kept) >= len(text) + len("せんせいしつもん")


@pytest.mark.parametrize(
    "options",
    [
        {"colour": "white", "background": "black"},
        {"outline": True, "margin": 34},
        {"tilt": 4.0},
        {"tilt": -5.0},
        {"margin": 2},
        {"screentone": True, "margin": 14},
    ],
    ids=str,
)
def test_real_bubbles_are_not_clean(reader: RapidOcr, options: dict[str, object]) -> None:
    picture, text = draw_bubble(["世界を", "救うのは", "俺たちだ"], 34, **options)  # type: ignore[arg-type]
    assert read(reader, picture)["text"] == text


def test_a_worn_scan_is_read(reader: RapidOcr) -> None:
    picture, text = draw_bubble(["あの山の", "向こうに", "村がある"], 30)
    assert read(reader, worn(picture, quality=30, blur=0.8, noise=40))["text"] == text


def test_latin_lines_are_joined_with_spaces(reader: RapidOcr) -> None:
    picture = Image.new("RGB", (420, 140), "white")
    from PIL import ImageDraw

    from fixtures.drawing import font

    ImageDraw.Draw(picture).multiline_text((20, 20), "The quick brown\nfox is hungry", "black", font(40))
    assert read(reader, picture, language="en")["text"] == "The quick brown fox is hungry"


LETTERS = {
    "ja": "あア漢々〆ヶヴー", "zh": "们这说么", "af": "êëïôöüéèáîû", "az": "çəğıöşüİ", "bs": "čćđšž",
    "ca": "àèéíïòóúüç·", "cs": "áčďéěíňóřšťúůýž", "cy": "âêîôûŵŷ", "da": "æøå", "de": "äöüß", "es": "áéíñóúü¿",
    "et": "äõöüšž", "eu": "ñç", "fi": "äöå", "fr": "àâæçéèêëîïôœùûüÿ", "ga": "áéíóú", "gl": "áéíñóú",
    "hr": "čćđšž", "hu": "áéíóöőúüű", "is": "áðéíóúýþæö", "it": "àèéìòù", "ku": "çêîşû", "la": "āēīōū",
    "lb": "äëé", "lt": "ąčęėįšųūž", "lv": "āčēģīķļņšūž", "mi": "āēīōū", "mt": "ċġħż", "nl": "ëïéèö", "no": "æøå",
    "oc": "àáèéíòóúç", "pl": "ąćęłńóśźż", "pt": "ãáàâçéêíõóôú", "qu": "ñ", "rm": "àèéìòù", "ro": "ăâîșț",
    "sk": "áäčďéíĺľňóôŕšťúýž", "sl": "čšž", "sq": "çë", "sr-Latn": "čćđšž", "sv": "åäö", "tl": "ñ", "tr": "çğıöşüİ",
}  # fmt: skip


def test_the_model_knows_the_letters_of_every_language_it_claims() -> None:
    from pathlib import Path

    import onnxruntime
    import rapidocr

    path = Path(rapidocr.__file__).parent / "models" / "PP-OCRv6_rec_small.onnx"
    metadata = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    known = set(metadata["character"].split("\n"))
    assert len(RapidOcr.spec.languages or {}) >= 45
    for code in RapidOcr.spec.languages or {}:
        letters = LETTERS.get(code, "") + string.ascii_letters
        assert not set(letters + letters.upper().replace("SS", "")) - known, code


def _noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(200, 256, (240, 180, 3), np.uint8))


def _gradient() -> Image.Image:
    return Image.linear_gradient("L").resize((200, 300)).convert("RGB")


def _screentone() -> Image.Image:
    picture = Image.new("RGB", (240, 300), "white")
    draw_screentone(picture, (0, 0, 240, 300))
    return picture


BLANKS = {
    "white": Image.new("RGB", (200, 300), "white"),
    "black": Image.new("RGB", (300, 100), "black"),
    "tiny": Image.new("RGB", (4, 4), "white"),
    "gradient": _gradient(),
    "noise": _noise(),
    "screentone": _screentone(),
}


@pytest.mark.parametrize("name", BLANKS)
def test_blank_pictures_give_no_text(reader: RapidOcr, name: str) -> None:
    assert read(reader, BLANKS[name]) == {"text": "", "confidence": None, "lines": []}


def test_drawn_bubbles_have_few_errors(reader: RapidOcr) -> None:
    samples = sample_bubbles(many(64, 24))
    errors = sum(Levenshtein.distance(read(reader, picture)["text"], text) for picture, text, _ in samples)
    assert errors / sum(len(text) for _, text, _ in samples) <= 0.04


def test_every_bubble_of_a_page_is_found(reader: RapidOcr) -> None:
    found = 0
    pages = many(3, 1)
    for seed in range(pages):
        page, truth = draw_page(seed)
        text = read(reader, page)["text"]
        found += sum(bubble["text"] in text for bubble in truth["bubbles"])
    assert found >= 0.85 * pages * len(truth["bubbles"])


def test_an_answer_does_not_depend_on_the_rest_of_the_batch(reader: RapidOcr) -> None:
    pictures = [picture for picture, _, _ in sample_bubbles(many(12, 6), seed=5)]
    together = reader.predict([PictureItem(picture) for picture in pictures])
    assert together == [read(reader, picture) for picture in pictures]


def test_a_picture_that_breaks_the_reader_fails_alone(reader: RapidOcr) -> None:
    good, text = draw_bubble(["ただいま！"], 30)
    bad = PictureItem(good)
    bad.images = ()
    failed, result = reader.predict([bad, PictureItem(good)])
    assert isinstance(failed, Exception)
    assert not isinstance(result, Exception)
    assert result["text"] == text


def test_furigana_of_a_crop_are_told(reader: RapidOcr) -> None:
    picture, text = draw_bubble(["明日は早く", "起きよう"], 40, furigana=FURIGANA)
    found = read(reader, picture, furigana="ruby")
    assert found["text"] == text
    assert {"base": "明日", "ruby": "あした"} in found["ruby"]
    assert "ruby" not in read(reader, picture)


def test_of_too_many_lines_the_first_are_read_and_the_answer_says_so(
    reader: RapidOcr, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, _ = draw_bubble(["この道を", "まっすぐ行けば", "海に出るよ"], 30)
    page = {"mode": "page"}
    assert "truncated" not in read(reader, picture)
    assert not read(reader, picture, **page)["truncated"]
    monkeypatch.setattr(reader, "_max_lines", 2)
    for options in ({}, page):
        cut = read(reader, picture, **options)
        assert (len(cut["lines"]), cut["truncated"]) == (2, True)
    monkeypatch.setattr(reader, "_max_lines", 3)
    assert "truncated" not in read(reader, picture)


def test_the_detector_itself_cuts_nothing_off(reader: RapidOcr) -> None:
    """Its own limit is 1,000 shapes."""
    (found,) = reader.predict([PictureItem(draw_words(1400), "en", mode="page", read=False)])
    assert not isinstance(found, Exception)
    assert (len(found["lines"]), found["truncated"]) == (1000, True)


def test_a_crop_beside_a_costly_picture_is_answered_first(reader: RapidOcr) -> None:
    costly = PictureItem(draw_words(80), "en")
    crop, text = draw_bubble(["この道を"], 32)
    polite = PictureItem(crop)
    costly.client, polite.client = "greedy", "polite"
    heard = Heard([costly, polite])
    serve(reader, heard)
    assert [message["id"] for message in heard.sent if message["type"] == "end"] == [1, 0]
    first, last = heard.sent
    assert first["result"]["text"] == text
    assert len(last["result"]["lines"]) > 50
    assert 0 < first["work"] < last["work"]


def test_the_spare_engine_works_for_others_while_a_large_part_keeps_one_busy() -> None:
    engines, requests, go = Engines(["usual", "spare"]), PartedRequests(), threading.Event()  # type: ignore[list-item]
    greedy, polite = (PlainItem([], {}) for _ in range(2))
    greedy.client, polite.client = "greedy", "polite"

    def steps(parts: Sequence[Callable[[Any], Any]]) -> Steps:
        return {"done by": (yield parts)}

    def large(engine: object) -> object:
        go.wait(PATIENCE)
        return engine

    found: list[tuple[Item, JsonObject | Exception]] = []

    def ended() -> list[tuple[Item, JsonObject | Exception]]:
        engines.work_on(requests, threads=1)
        found.extend(requests.take_ended())
        return found

    requests.add(greedy, steps([large, large]))
    begun = time.monotonic()
    eventually(lambda: ended() or time.monotonic() > begun + 2 * LARGE_SECONDS)
    assert requests.running == 1, "the spare engine is not for the client whose part it is"
    requests.add(polite, steps([lambda engine: engine]))
    assert eventually(ended) == [(polite, {"done by": ["spare"]})]
    go.set()
    found.clear()
    ((item, _),) = eventually(ended)
    assert item is greedy


class LeavesSoon(PictureItem):
    """Nobody waits for it any more once some of its lines have been read."""

    lines_read = 0

    @property  # type: ignore[override]
    def cancelled(self) -> bool:
        return self.lines_read > 3


@pytest.mark.parametrize("mode", ["crop", "page"])
def test_reading_ends_within_a_line_when_nobody_waits(
    reader: RapidOcr, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    item = LeavesSoon(draw_words(200), "en", mode=mode)
    read_line = Engine.read_line

    def count(*arguments: Any, **named: Any) -> tuple[str, float]:
        item.lines_read += 1
        return read_line(*arguments, **named)

    monkeypatch.setattr(Engine, "read_line", count)
    (ended,) = reader.predict([item])
    assert isinstance(ended, ClientClosed)
    assert item.lines_read <= 4 + THREADS


def test_lines_of_a_page_can_be_found_first_and_read_later(reader: RapidOcr) -> None:
    picture, _ = draw_page()
    item = PictureItem(picture)
    item.params |= {"mode": "page", "read": False, "reading_order": "auto"}
    (found,) = reader.predict([item])
    assert not isinstance(found, Exception)
    assert {line["text"] for line in found["lines"]} == {""}
    chosen = found["lines"][:5]
    item.params |= {
        "mode": "lines",
        "lines": [line["polygon"] for line in chosen],
        "vertical": [line["vertical"] for line in chosen],
    }
    (read_later,) = reader.predict([item])
    item.params |= {"mode": "page", "read": True}
    (at_once,) = reader.predict([item])
    assert [line["text"] for line in read_later["lines"]] == [line["text"] for line in at_once["lines"][:5]]  # type: ignore[index]
    assert any(len(line["text"]) > 3 for line in read_later["lines"])  # type: ignore[index]


def test_a_page_that_fails_is_no_other_ones_fault(reader: RapidOcr) -> None:
    good, bad = PictureItem(draw_page()[0]), PictureItem(Image.new("RGB", (900, 900), "white"))
    for item in (good, bad):
        item.params |= {"mode": "page", "read": True, "reading_order": "auto"}
    bad.images = (np.full((900, 900), 255, np.uint8),)
    crop, text = draw_bubble(["この道を"], 32)
    page, failure, bubble = reader.predict([good, bad, PictureItem(crop)])
    assert len(page["lines"]) > 8  # type: ignore[index,arg-type]
    assert isinstance(failure, Exception)
    assert bubble["text"] == text  # type: ignore[index]
