"""Pictures' servers that send no answer but cost much, beside probes."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from urllib.parse import quote

from fixtures.costly_answers import COSTLY
from fixtures.crowd import Timed, ask, while_probing
from fixtures.live import LiveServer
from fixtures.raw_http import request
from fixtures.remote_pictures import Remote

SETTINGS = {
    "VISION_URL_HOSTS": "127.0.0.1",
    "VISION_URL_HTTP": "true",
    "VISION_URL_PRIVATE": "true",
    "HF_TEST_ANY_PORT": "1",
}
PER_SECOND = 100


@dataclass(frozen=True)
class Beside:
    """Probes of /livez without and beside them, and what their clients were told."""

    alone: list[Timed]
    beside: list[Timed]
    codes: Counter[str | None]


async def costly_answers(live: LiveServer, times: int = 4) -> Beside:
    """Fetch every costly answer, as many at a time as are fetched together."""
    with Remote() as remote:
        urls = [quote(remote.url(f"/costly/{quote(name)}"), safe="") for name in COSTLY]
        requests = [request(f"/ocr?url={url}", method="GET") for url in urls]

        async def fetch_all() -> None:
            for data in requests:
                answers = await asyncio.gather(*(ask(live.port, data) for _ in range(times)))
                codes.update(answer.code for answer in answers)

        codes: Counter[str | None] = Counter()
        alone = await while_probing(live.port, PER_SECOND, asyncio.sleep(3))
        beside = await while_probing(live.port, PER_SECOND, fetch_all())
    return Beside(alone, beside, codes)
