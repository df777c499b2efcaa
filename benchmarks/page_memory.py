"""Measures memory over four passes of 50 pages of different sizes; plots it in docs/images/page-memory.svg."""

from __future__ import annotations

import random
from pathlib import Path
from statistics import median

import psutil

from benchmarks.report import Result, report
from benchmarks.service import running
from fixtures.comic_pages import KINDS, draw_comic_page
from fixtures.encoding import saved

PAGES, ROUNDS = 50, 4
MOST_GROWTH = 1.05
PEER = "the second pass"
PLOT = Path(__file__).parents[1] / "docs" / "images" / "page-memory.svg"
WIDTH, HEIGHT, MARGIN = 720, 240, 44
MEBIBYTE = 2**20


def main() -> int:
    pages = _pages()
    memory = []
    with running() as (client, service):
        gateway = psutil.Process(service.pid)
        for page in pages * ROUNDS:
            client.post("/ocr/page", files={"file": page}, data={"engine": "rapidocr"}).raise_for_status()
            memory.append(sum(one.memory_info().rss for one in (gateway, *gateway.children())) / MEBIBYTE)
    PLOT.write_text(_plot(memory))
    second, last = median(memory[PAGES : 2 * PAGES]), median(memory[-PAGES:])
    ratio = last / second
    rows = [
        (f"{PAGES} pages of 0.4 to 20 megapixels, {ROUNDS} passes", "MiB, all processes"),
        ("largest", f"{max(memory):.0f}"),
        (PEER, f"{second:.0f}"),
        ("the last pass", f"{last:.0f}"),
    ]
    target = f"<= {MOST_GROWTH}"
    return report(rows, Result("page_memory", round(last), "MiB", PEER, round(ratio, 3), target, ratio <= MOST_GROWTH))


def _pages() -> list[bytes]:
    chance, found = random.Random(1), []
    for number in range(PAGES):
        page = draw_comic_page(KINDS[number % len(KINDS)], number).picture
        scale = chance.uniform(0.5, 1.8) if page.height < 3 * page.width else chance.uniform(0.6, 1.1)
        page = page.resize((round(page.width * scale), round(page.height * scale)))
        found.append(saved(page, "JPEG", quality=85))
    return found


def _plot(memory: list[float]) -> str:
    """The memory after each page as a line."""
    top = 100 * (int(max(memory)) // 100 + 1)
    right, bottom = WIDTH - MARGIN, HEIGHT - MARGIN

    def place(number: float, value: float) -> str:
        x = MARGIN + (right - MARGIN) * number / len(memory)
        return f"{x:.1f},{bottom - (bottom - 16) * value / top:.1f}"

    points = " ".join(place(number, value) for number, value in enumerate(memory))
    lines = "".join(
        f'<polyline points="{place(0, value)} {place(len(memory), value)}" stroke="#ddd"/>'
        f'<text x="{MARGIN - 6}" y="{place(0, value).split(",")[1]}" text-anchor="end">{value}</text>'
        for value in range(0, top + 1, max(100, top // 5 // 100 * 100))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/><g fill="#333">{lines}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">pages read ({len(memory)}), MiB of all processes'
        f'</text></g><polyline points="{points}" fill="none" stroke="#c2185b" stroke-width="1.5"/></svg>\n'
    )
