"""MangaOCR (kha-white/manga-ocr-base): reads a crop of manga as one text; several crops at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...base import (
    Item,
    JsonObject,
    LoadContext,
    ModelSpec,
    Quantization,
    Task,
    UnusableWeights,
    Volume,
    Weights,
)
from ...parts import ModelInParts, Steps
from ...registry import register
from ...tasks.reading import CropText, CropTexts, ReadCrops, reading_from_json

if TYPE_CHECKING:
    import torch

MEBIBYTE = 1024 * 1024
AT_ONCE = 16
"""Crops that are read together."""
MAX_TOKENS = 300
"""The `manga_ocr` package's own limit; a text that reaches it has not come to an end."""
SPECIAL = frozenset({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})
FLAT = 12
"""A picture whose grey values lie closer together (of 255) has nothing written in it."""
MOST_REPEATS = 6
"""As many times the same one to three characters in a row are no text."""
INVENTED = 0.1
"""Highest confidence of a text that is probably invented."""
NO_END = "The reader did not come to an end: this text is probably invented."
REPEATED = "The reader repeats itself: this text is probably invented."


@dataclass(frozen=True, eq=False)
class _Crop:
    """A picture of a request; shape (height, width, 3)."""

    item: Item
    picture: Any


@register
class MangaOcr(ModelInParts):
    """A ViT encoder and a BERT decoder, searched with four beams as the checkpoint says."""

    spec: ClassVar[ModelSpec] = ModelSpec(
        model_id="manga-ocr",
        title="MangaOCR base",
        tasks=frozenset({Task.OCR}),
        license="Apache-2.0",
        memory_bytes=1400 * MEBIBYTE,
        quantizable=frozenset({"cpu"}),
        working_bytes=950 * MEBIBYTE,
        max_batch=32,
        places_for_others=16,
        languages={"ja": "Japanese"},
        aliases=("mangaocr", "manga_ocr", "kha-white/manga-ocr-base"),
        devices=frozenset({"cpu", "cuda"}),
        weights=Weights(
            "kha-white/manga-ocr-base",
            Volume.MANGA_OCR,
            "vision-encoder-decoder",
            download_bytes=445_000_000,
            may_be_pickled=True,
        ),
        is_stepped=True,
        longest_step=60,  # as many crops with invented texts, which are long, on a busy CPU
    )
    _most_at_once = AT_ONCE

    def load(self, context: LoadContext) -> None:
        import torch
        from manga_ocr.ocr import post_process
        from transformers import GenerationMixin, VisionEncoderDecoderModel, ViTImageProcessorPil

        from ...loading import hf
        from ...loading.int4 import load as int4
        from . import beams

        class GeneratingEncoderDecoder(VisionEncoderDecoderModel, GenerationMixin):  # type: ignore[no-untyped-call]
            """Transformers' own class has lost `generate`."""

        assert context.weights_root is not None  # noqa: S101
        torch.set_num_threads(context.threads)
        folder = context.weights_root
        self._dtype = hf.best_dtype(context.device)
        if context.quantization is Quantization.FOUR:
            self._model = int4.load(GeneratingEncoderDecoder, folder, self._dtype)
        else:
            loaded = hf.load_weights(GeneratingEncoderDecoder, folder, may_be_pickled=True, dtype=self._dtype)
            self._model = loaded.to(context.device)
        beams.prepare(self._model)
        self._processor = ViTImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self._post_process: Callable[[str], str] = post_process
        self._vocabulary = _read_vocabulary(folder / "vocab.txt", self._model.config.decoder.vocab_size)
        side = self._model.config.encoder.image_size
        nothing = torch.zeros(1, 3, side, side, device=context.device, dtype=self._dtype)
        self._model.generate(
            **beams.encode(self._model, nothing), max_length=2
        )  # the first run prepares what all others use

    def steps_of(self, item: Item) -> Steps:
        return _read_all(item.params, [_Crop(item, picture) for picture in item.images])

    def step(self) -> Sequence[tuple[Item, JsonObject | Exception]]:
        """Some crops at once, of as many clients as there are."""
        taken = list(islice(iter(self._requests.take, None), self._most_at_once))
        if taken:
            started = time.perf_counter()
            try:
                readings = self._read([assignment.part for assignment in taken])
            except BaseException:
                self._requests.put_back(taken)
                raise
            seconds = (time.perf_counter() - started) / len(taken)
            for assignment, reading in zip(taken, readings, strict=True):
                self._requests.finish(assignment, reading, seconds)
            self._most_at_once = AT_ONCE
        return self._requests.take_ended()

    def shrink(self) -> Item | None:
        if self._most_at_once == 1:
            return super().shrink()
        self._most_at_once //= 2
        return None

    def _read(self, crops: Sequence[_Crop]) -> list[CropText]:
        import torch

        from ...decoding.leaving import stop_when_nobody_waits
        from . import beams

        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            seen = beams.encode(self._model, self._pixels(crops))
            encoded = seen["encoder_outputs"].last_hidden_state  # `generate` repeats it for each beam
            sequences = self._model.generate(
                **seen, max_length=MAX_TOKENS, stopping_criteria=[stop_when_nobody_waits([crop.item for crop in crops])]
            )
            confidences = beams.measure_confidences(self._model, encoded, sequences)
        end = self._model.generation_config.eos_token_id
        return [
            judge(self._text_of(ids), confidence, has_end=end in ids)
            for ids, confidence in zip(sequences.tolist(), confidences, strict=True)
        ]

    def _pixels(self, crops: Sequence[_Crop]) -> torch.Tensor:
        """Grey, squashed to a square; shape (crops, 3, side, side)."""
        from PIL import Image

        pictures = [Image.fromarray(crop.picture).convert("L").convert("RGB") for crop in crops]
        pixels: torch.Tensor = self._processor(pictures, return_tensors="pt").pixel_values
        return pixels.to(self._model.device, self._dtype)

    def _text_of(self, ids: Sequence[int]) -> str:
        """What the package's tokenizer makes of token ids, without the dictionaries that it needs to encode."""
        words = [self._vocabulary[number] for number in ids]
        spaced = " ".join(word for word in words if word not in SPECIAL)
        return self._post_process(spaced.replace(" ##", ""))


def _read_all(params: JsonObject, crops: Sequence[_Crop]) -> Steps:
    """The crops of a request; blank ones are not read at all. A request to `ReadCrops` has several."""
    written = [crop for crop in crops if not is_blank(crop.picture)]
    readings = dict(zip(map(id, written), (yield written), strict=True))
    theirs = tuple(readings.get(id(crop), CropText("")) for crop in crops)
    reads_several = isinstance(reading_from_json(params), ReadCrops)
    return (CropTexts(theirs) if reads_several else theirs[0]).as_json()


def _read_vocabulary(file: Path, size: int) -> list[str]:
    """The tokens by id.

    Raises:
        UnusableWeights: they are not those of the model.
    """
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    words = text.removesuffix("\n").split("\n")  # a token may be a line separator of another kind
    if len(words) != size:
        raise UnusableWeights(f"vocab.txt has {len(words)} tokens, the model {size}")
    return words


def is_blank(picture: Any) -> bool:
    """Whether an RGB picture of shape (height, width, 3) is of one shade."""
    return bool(int(picture.max()) - int(picture.min()) < FLAT)


def judge(text: str, confidence: float, *, has_end: bool) -> CropText:
    """A reading with its doubts: a text that does not end or only repeats itself is never told as a sure one."""
    if not has_end:
        return CropText(text, min(confidence, INVENTED), notice=NO_END)
    if repeats_itself(text):
        return CropText(text, min(confidence, INVENTED), notice=REPEATED)
    return CropText(text, confidence if text else None)


def repeats_itself(text: str) -> bool:
    """Whether one to three characters, not all dots or dashes, come again and again up to the end."""
    for length in range(1, 4):
        unit = text[-length:]
        if unit.strip(".ー〜～—！？!?") and text.endswith(unit * MOST_REPEATS):
            return True
    return False
