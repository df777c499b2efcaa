"""Draws the demo's page and bubble, with their truth, into demo/pictures: `python demo/make_pictures.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fixtures.drawing import draw_bubble
from fixtures.encoding import saved
from fixtures.pages import draw_page
from fixtures.sentences import FURIGANA

PICTURES = Path(__file__).parent / "pictures"
EXAMPLE = Path(__file__).parents[1] / "llm-vision" / "llm_vision" / "web" / "bubble.png"
"""The picture of /docs: small, since it is part of each example."""
PAGE_SEED = 0
BUBBLE = ("先生、質問が", "あります！")


def write(name: str, truth: object) -> None:
    (PICTURES / name).write_text(json.dumps(truth, ensure_ascii=False, indent=1) + "\n")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    page, truth = draw_page(PAGE_SEED)
    page.convert("L").save(PICTURES / "page.png", optimize=True)
    write("page.json", truth)
    bubble, text = draw_bubble(BUBBLE, 34, furigana=FURIGANA, outline=True, margin=30)
    bubble.convert("L").save(PICTURES / "bubble.png", optimize=True)
    EXAMPLE.write_bytes(saved(bubble.convert("L").quantize(2, dither=Image.Dither.NONE)))
    write("bubble.json", {"text": text, "lines": BUBBLE})


if __name__ == "__main__":
    main()
