"""Three lines of the log at the start say where, who answers and what is missing, and who may ask."""

from __future__ import annotations

from pathlib import Path

from fixtures.live import Start
from fixtures.tiny_models import LLAVA, LLAVA_ID, MANGA_OCR, copied
from fixtures.waiting import eventually


def test_the_start_says_what_is_missing_and_where(start_server: Start, tmp_path: Path) -> None:
    server = start_server({"VISION_DATA": str(tmp_path / "weights")})
    eventually(lambda: "weights: " in server.log)
    assert f"listening on http://127.0.0.1:{server.port}; http://127.0.0.1:{server.port}/docs shows" in server.log
    assert "/ocr: manga-ocr, whose weights are missing: `llm-vision models download manga-ocr`; /analyze" in server.log
    assert f"weights: {tmp_path / 'weights'}; no key is asked for" in server.log


def test_the_start_says_who_answers_and_how_many_keys_there_are(start_server: Start, tmp_path: Path) -> None:
    copied(MANGA_OCR, tmp_path / "data" / "mangaocr_models" / "manga-ocr-base")
    copied(LLAVA, tmp_path / "data" / "llava_models" / LLAVA_ID)
    keys = {"VISION_API_KEYS": "sesame-1,sesame-2", "VISION_ADMIN_KEYS": "sesame-3"}
    server = start_server({"VISION_DATA": str(tmp_path / "data"), "LLAVA_MODEL_ID": LLAVA_ID, **keys})
    eventually(lambda: "weights: " in server.log)
    assert f"/ocr: manga-ocr; /analyze_image and chats: {LLAVA_ID}\n" in server.log
    assert "3 keys are accepted, 1 of them may manage models" in server.log
    assert "sesame" not in server.log
