"""Decoder processes: what a file may cost, and whose fault it is when it is not decoded."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

import psutil
import pytest
from PIL import Image

from fixtures.encoding import saved
from fixtures.waiting import until
from llm_vision.errors import ImageTooComplex, MachineBusy
from llm_vision.images.decode import ImageLimits
from llm_vision.metrics import Metrics
from llm_vision.runtime.decoders.decoders import DecoderLimits, Decoders

SMALL = saved(Image.new("RGB", (16, 16)), "PNG")
COSTLY = saved(Image.effect_noise((2000, 2000), 90), "JPEG", progressive=True)
"""About a tenth of a second of processor time."""


@asynccontextmanager
async def decoders(**limits: float) -> AsyncIterator[Decoders]:
    rules = DecoderLimits(**{"processes": 2, "budget_bytes": 1 << 30, **limits})  # type: ignore[arg-type]
    made = Decoders(asdict(ImageLimits()), rules, Metrics())
    yield made
    await made.close()


async def size_of(made: Decoders, data: bytes, client: str = "a") -> tuple[int, int]:
    async with made.decoded(data, client) as picture:
        return picture.width, picture.height


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "decoders.child" in " ".join(child.cmdline())]


async def test_a_file_that_takes_too_much_processor_time_is_refused_and_no_other() -> None:
    async with decoders(seconds=0.05) as made:
        for _ in range(2):
            with pytest.raises(ImageTooComplex):
                await size_of(made, COSTLY)
            assert await size_of(made, SMALL) == (16, 16)


async def test_time_in_which_a_decoder_does_not_run_is_not_counted_for_its_file() -> None:
    async with decoders(seconds=0.5) as made:
        await made.warm_up()
        (process,) = children()
        process.send_signal(signal.SIGSTOP)
        asked = asyncio.create_task(size_of(made, SMALL))
        await asyncio.sleep(1.0)  # longer than it may take
        process.send_signal(signal.SIGCONT)
        assert await asked == (16, 16)


async def test_idle_time_and_earlier_files_are_not_counted() -> None:
    async with decoders(seconds=0.5) as made:
        for _ in range(8):
            assert await size_of(made, COSTLY) == (2000, 2000)


async def test_a_decoder_that_gets_no_time_at_all_is_not_the_files_fault() -> None:
    async with decoders(patience=0.5) as made:
        await made.warm_up()
        children()[0].send_signal(signal.SIGSTOP)
        with pytest.raises(MachineBusy) as raised:
            await size_of(made, SMALL)
        assert raised.value.retry_after
        assert await size_of(made, SMALL) == (16, 16)


async def test_one_client_never_holds_all_decoders() -> None:
    async with decoders() as made:
        await made.warm_up()
        children()[0].send_signal(signal.SIGSTOP)
        greedy = [asyncio.create_task(size_of(made, SMALL, "greedy")) for _ in range(4)]
        await until(lambda: not made._idle)
        assert await size_of(made, SMALL, "polite") == (16, 16)
        assert not any(task.done() for task in greedy)
        for child in children():
            child.send_signal(signal.SIGCONT)
        assert await asyncio.gather(*greedy) == [(16, 16)] * 4
