"""POST /ocr/page on drawn pages, with the embedded reader and with the tiny MangaOCR."""

from __future__ import annotations

import io
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from rapidfuzz.distance import Levenshtein

from fixtures.comic_pages import ComicPage, TrueBlock, draw_comic_page
from fixtures.counts import some
from fixtures.encoding import saved
from fixtures.japanese_crops import crops
from fixtures.live import LiveServer, Start
from fixtures.tiny_models import MANGA_OCR, copied


def post(client: httpx2.Client, picture: Image.Image, **fields: str) -> httpx2.Response:
    return client.post("/ocr/page", files={"file": saved(picture)}, data=fields)


def matches(block: dict, truth: TrueBlock) -> bool:
    x, y = (truth.box[0] + truth.box[2]) / 2, (truth.box[1] + truth.box[3]) / 2
    left, top, right, bottom = block["box"]
    return bool(left <= x <= right and top <= y <= bottom)


def found_in(page: ComicPage, body: dict) -> list[int]:
    """For each true block the place of its block in the answer."""
    return [next(block["order"] for block in body["blocks"] if matches(block, truth)) for truth in page.blocks]


@pytest.mark.parametrize("kind", some(["manga", "spread", "comic"], 2))
def test_a_page_is_read_in_its_order(client: httpx2.Client, kind: str) -> None:
    page = draw_comic_page(kind, 1)
    body = post(client, page.picture).json()
    assert (body["width"], body["height"]) == page.picture.size
    assert (body["engine"], body["language"]) == ("rapidocr", "ja")
    assert body["reading_order"] == ("ltr" if kind == "comic" else "rtl")
    assert found_in(page, body) == list(range(len(page.blocks)))
    truth = "\n".join(block.text for block in page.blocks)
    assert Levenshtein.distance(body["text"], truth) <= 0.04 * len(truth)
    assert [block["vertical"] for block in body["blocks"]] == [block.vertical for block in page.blocks]


def test_blocks_say_where_and_how_sure(client: httpx2.Client) -> None:
    page = draw_comic_page("manga", 1)
    for block, truth in zip(post(client, page.picture).json()["blocks"], page.blocks, strict=True):
        assert np.allclose(block["box"], truth.box, atol=16)
        assert 0.6 < block["confidence"] <= 1
        assert (block["engine"], block["alternatives"], block["ruby"]) == ("rapidocr", [], None)
        assert 0.7 < block["font_size"] / (truth.box[3] - truth.box[1]) * max(map(len, truth.lines)) < 1.35
        assert len(block["lines"]) == len(truth.lines)
        for line in block["lines"]:
            assert len(line["polygon"]) == 4
            assert line["text"] in block["text"]


@pytest.mark.parametrize("seed", some([7, 2], 1))
def test_no_line_of_a_tall_strip_is_lost_or_doubled(client: httpx2.Client, seed: int) -> None:
    page = draw_comic_page("strip", seed)
    assert page.picture.height > 8 * page.picture.width, "several tiles"
    body = post(client, page.picture).json()
    read = [block["text"] for block in body["blocks"]]
    missing = [truth.text for truth in page.blocks if not any(matches(block, truth) for block in body["blocks"])]
    assert len(missing) <= 1
    assert len(read) <= len(page.blocks) + 1
    assert body["reading_order"] == "ltr"


def test_furigana_are_stripped_kept_or_told(client: httpx2.Client) -> None:
    page = draw_comic_page("manga", 0)
    assert sum(len(block.furigana) for block in page.blocks) >= 4
    plain = post(client, page.picture).json()
    assert Levenshtein.distance(plain["text"], "\n".join(block.text for block in page.blocks)) <= 8
    kept = post(client, page.picture, furigana="keep").json()
    assert len(kept["text"]) > len(plain["text"])
    told = post(client, page.picture, furigana="ruby").json()
    pairs = {(pair["base"], pair["ruby"]) for block in told["blocks"] for pair in block["ruby"]}
    truth = {pair for block in page.blocks for pair in block.furigana}
    assert len(pairs & truth) >= max(1, 0.3 * len(truth))
    assert len(pairs & truth) >= 0.5 * len(pairs)
    assert told["text"] == plain["text"]


def test_other_formats(client: httpx2.Client) -> None:
    whole = draw_comic_page("manga", 1).picture
    page = whole.crop((0, 0, whole.width, whole.height // 2))
    body = post(client, page).json()
    text = post(client, page, format="text")
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text == body["text"] + "\n"
    mokuro = post(client, page, format="mokuro").json()
    assert (mokuro["img_width"], mokuro["img_height"]) == page.size
    for block, same in zip(mokuro["blocks"], body["blocks"], strict=True):
        assert block["box"] == [round(value) for value in same["box"]]
        assert block["lines"] == [line["text"] for line in same["lines"]]
        assert len(block["lines_coords"]) == len(block["lines"])
    picture = post(client, page, format="image")
    assert picture.headers["content-type"] == "image/png"
    drawn = Image.open(io.BytesIO(picture.content))
    assert drawn.size == page.size
    changed = np.abs(np.asarray(drawn, int) - np.asarray(page, int)).sum(axis=2) > 60
    left, top, right, bottom = (round(value) for value in body["blocks"][0]["box"])
    assert changed[top - 12 : bottom + 12, left - 12 : right + 12].any()
    assert 0.002 < changed.mean() < 0.1


def test_a_page_without_text(client: httpx2.Client) -> None:
    body = post(client, Image.new("RGB", (600, 900), "white")).json()
    assert (body["blocks"], body["text"]) == ([], "")
    assert post(client, Image.new("RGB", (600, 900), "white"), format="mokuro").json()["blocks"] == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"reading_order": "up"}, "invalid_parameter"),
        ({"format": "pdf"}, "invalid_parameter"),
        ({"engine": "nobody"}, "model_not_found"),
        ({"engine": "efficientnet-lite0"}, "unsupported_task"),
        ({"language": "tlh"}, "unsupported_language"),
    ],
)
def test_wrong_wishes_are_refused(client: httpx2.Client, fields: dict[str, str], code: str) -> None:
    assert post(client, Image.new("RGB", (60, 90), "white"), **fields).json()["code"] == code


@pytest.fixture(scope="module")
def with_manga_ocr(tmp_path_factory: pytest.TempPathFactory, start_module_server: Start) -> LiveServer:
    volume = copied(MANGA_OCR, tmp_path_factory.mktemp("weights"))
    return start_module_server({"MANGAOCR_MODEL_PATH": str(volume)})


def page_of_crops(count: int, seed: int) -> tuple[Image.Image, list[str]]:
    """Crops of the tiny MangaOCR's alphabet as bubbles on a page, the right one first, from the top."""
    page, texts = Image.new("RGB", (1000, 1400), "white"), []
    for number, crop in enumerate(crops(count, seed)):
        small = crop.picture
        page.paste(small, (760 - 260 * (number % 3), 60 + 260 * (number // 3)))
        texts.append(crop.text)
    return page, texts


def test_manga_ocr_reads_the_blocks_when_its_weights_are_there(with_manga_ocr: LiveServer) -> None:
    page, texts = page_of_crops(12, seed=31)
    body = post(with_manga_ocr.client, page).json()
    assert (body["engine"], body["degraded"], body["notice"]) == ("manga-ocr", False, None)
    theirs = [block["text"] for block in body["blocks"] if block["engine"] == "manga-ocr"]
    assert set(theirs) & set(texts), "the tiny model reads crops that are like those it has learned from"
    for block in body["blocks"]:
        assert "".join(line["text"] for line in block["lines"]) == block["text"]


def test_of_two_readings_the_better_one_is_taken_and_the_other_told(with_manga_ocr: LiveServer) -> None:
    page, texts = page_of_crops(12, seed=31)
    blocks = post(with_manga_ocr.client, page).json()["blocks"]
    doubted = [block for block in blocks if block["alternatives"]]
    assert doubted
    for block in doubted:
        (other,) = block["alternatives"]
        assert {block["engine"], other["engine"]} == {"manga-ocr", "rapidocr"}
        assert other["text"] != block["text"]
    distance = sum(min(Levenshtein.distance(block["text"], text) for text in texts) for block in doubted)
    others = sum(
        min(Levenshtein.distance(block["alternatives"][0]["text"], text) for text in texts) for block in doubted
    )
    assert distance < others


def test_a_named_engine_reads_alone(with_manga_ocr: LiveServer) -> None:
    page, _ = page_of_crops(3, seed=32)
    body = post(with_manga_ocr.client, page, engine="rapidocr").json()
    assert {block["engine"] for block in body["blocks"]} <= {"rapidocr"}


def test_without_weights_the_embedded_reader_reads_and_says_so(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    server = start_server({"MANGAOCR_MODEL_PATH": str(tmp_path / "empty"), "VISION_DOWNLOAD": "never"})
    body = post(server.client, draw_comic_page("manga", 1).picture).json()
    assert (body["engine"], body["degraded"]) == ("rapidocr", True)
    assert "MangaOCR" in body["notice"]
    refused = post(server.client, draw_comic_page("manga", 1).picture, fallback="never")
    assert (refused.status_code, refused.json()["code"]) == (503, "model_load_failed")
