"""Draws docs/images/answer.png: the demo's bubble beside what the service answers to it (`make answer`).

The picture carries the answer as text, so that a test can compare it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib_fontja
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

sys.path.insert(0, str(Path(__file__).parents[2] / "demo"))

from run import running

ROOT = Path(__file__).parents[2]
BUBBLE = ROOT / "demo" / "pictures" / "bubble.png"
FONT = Path(matplotlib_fontja.__file__).parent / "fonts" / "ipaexg.ttf"
PAPER, CARD, INK, KEY, TEXT = "#f4f1ea", "#1f2430", "#e6e6e6", "#8fb7ff", "#b6e3a1"
MARGIN, CARD_WIDTH, LINE = 36, 620, 34


def main() -> None:
    picture = Image.open(BUBBLE).convert("RGB")
    with running() as client:
        answer = client.post("/ocr", files={"file": BUBBLE.read_bytes()}, data={"engine": "rapidocr"}).json()
    bubble = picture.resize((picture.width * 3 // 2, picture.height * 3 // 2), Image.Resampling.LANCZOS)
    height = max(bubble.height, LINE * (len(answer) + 4)) + 2 * MARGIN
    canvas = Image.new("RGB", (bubble.width + CARD_WIDTH + 3 * MARGIN, height), PAPER)
    canvas.paste(bubble, (MARGIN, (height - bubble.height) // 2))
    _draw_card(ImageDraw.Draw(canvas), answer, bubble.width + 2 * MARGIN, height)
    told = PngInfo()
    told.add_itxt("answer", json.dumps(answer, ensure_ascii=False))
    canvas.save(Path(__file__).parent / "answer.png", optimize=True, pnginfo=told)


def _draw_card(draw: ImageDraw.ImageDraw, answer: dict[str, object], left: int, height: int) -> None:
    face = ImageFont.truetype(str(FONT), 22)
    draw.rounded_rectangle((left, MARGIN, left + CARD_WIDTH, height - MARGIN), 18, fill=CARD)
    x, y = left + 30, MARGIN + (height - 2 * MARGIN - LINE * (len(answer) + 3)) // 2
    draw.text((x, y), "POST /ocr  engine=rapidocr    200 OK", "#9aa4b8", face)
    draw.text((x, y + LINE), "{", INK, face)
    for number, (key, value) in enumerate(answer.items()):
        row = y + LINE * (number + 2)
        draw.text((x + 28, row), f'"{key}":', KEY, face)
        draw.text((x + 230, row), json.dumps(value, ensure_ascii=False), TEXT, face)
    draw.text((x, y + LINE * (len(answer) + 2)), "}", INK, face)


if __name__ == "__main__":
    main()
