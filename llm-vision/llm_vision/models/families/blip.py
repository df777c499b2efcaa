"""BLIP (Salesforce/blip-image-captioning): says in one sentence what a picture shows; several pictures at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..base import Item, JsonObject, LoadContext, Model, ModelSpec, Task, UnusableWeights, Volume, Weights
from ..registry import register_variants
from ..tasks.naming import CaptionText

if TYPE_CHECKING:
    import torch

MEBIBYTE = 1024 * 1024
MAX_TOKENS = 50
"""Two to three times as many as captions have."""
SPECIAL_TOKENS = 2
"""What the published models know beside the words of their tokenizer: the starts of decoder and encoder."""


def _variant(size: str, memory_bytes: int, download_bytes: int) -> ModelSpec:
    return ModelSpec(
        model_id=f"blip-image-captioning-{size}",
        title=f"BLIP {size}, says in a sentence what a picture shows",
        tasks=frozenset({Task.CAPTION}),
        license="BSD-3-Clause",
        memory_bytes=memory_bytes,
        max_batch=8,
        devices=frozenset({"cpu", "cuda"}),
        weights=Weights(
            f"Salesforce/blip-image-captioning-{size}",
            Volume.LLAVA,
            "blip",
            download_bytes=download_bytes,
            may_be_pickled=True,
        ),
    )


BASE = _variant("base", 1600 * MEBIBYTE, download_bytes=990_000_000)
LARGE = _variant("large", 2600 * MEBIBYTE, download_bytes=1_880_000_000)


class Blip(Model):
    """A ViT encoder and a BERT decoder that looks at its patches: greedy, or with the beams of the checkpoint."""

    spec: ClassVar[ModelSpec] = BASE

    def load(self, context: LoadContext) -> None:
        import torch
        from transformers import BertTokenizer, BlipForConditionalGeneration, BlipImageProcessorPil

        from ..loading import hf

        assert context.weights_root is not None  # noqa: S101
        torch.set_num_threads(context.threads)
        folder = context.weights_root
        self._dtype = hf.best_dtype(context.device)
        loaded = hf.load_weights(BlipForConditionalGeneration, folder, may_be_pickled=True, dtype=self._dtype)
        self._model = loaded.to(context.device)
        self._processor = BlipImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self._tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
        self._check_parts(folder)
        side = self._model.config.vision_config.image_size
        nothing = torch.zeros(1, 3, side, side, device=context.device, dtype=self._dtype)
        self._captions(nothing, max_new_tokens=1)

    def _check_parts(self, folder: Path) -> None:
        """Refuse what would fit without a word and caption wrongly.

        Raises:
            UnusableWeights: pictures of another size, or words of another model.
        """
        side, size = self._model.config.vision_config.image_size, self._processor.size
        if (size.get("height"), size.get("width")) != (side, side):
            raise UnusableWeights(f"preprocessor_config.json does not make pictures of {side} by {side} pixels")
        words, known = len(self._tokenizer), self._model.config.text_config.vocab_size
        if not (folder / "vocab.txt").is_file() or not known - SPECIAL_TOKENS <= words <= known:
            raise UnusableWeights(f"vocab.txt has {words} tokens, the model {known}")

    def predict(self, batch: Sequence[Item]) -> Sequence[JsonObject | Exception]:
        import torch
        from PIL import Image

        from ..decoding.leaving import stop_when_nobody_waits

        torch.set_num_threads(self.threads)
        pictures = [Image.fromarray(item.images[0]) for item in batch]
        pixels: torch.Tensor = self._processor(pictures, return_tensors="pt").pixel_values
        sequences, confidences = self._captions(
            pixels.to(self._model.device, self._dtype),
            max_new_tokens=MAX_TOKENS,
            stopping_criteria=[stop_when_nobody_waits(batch)],
        )
        texts = [self._tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in sequences.tolist()]
        return [
            CaptionText(text, confidence if text else None).as_json()
            for text, confidence in zip(texts, confidences, strict=True)
        ]

    def _captions(self, pixels: torch.Tensor, **options: Any) -> tuple[torch.Tensor, list[float]]:
        """Token ids of shape (pictures, length), and how sure the model is of each caption.

        As `BlipForConditionalGeneration.generate`, which would keep what it saw to itself.
        """
        import torch

        config, decoder = self._model.config.text_config, self._model.text_decoder
        with torch.inference_mode():
            seen = self._model.vision_model(pixel_values=pixels).last_hidden_state
            start = torch.full((len(pixels), 1), config.bos_token_id, device=pixels.device)
            sequences = decoder.generate(
                input_ids=start,
                eos_token_id=config.sep_token_id,
                pad_token_id=config.pad_token_id,
                encoder_hidden_states=seen,
                encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=pixels.device),
                num_beams=self._model.generation_config.num_beams or 1,
                **options,
            )
            return sequences, [self._confidence(*one) for one in zip(seen, sequences, strict=True)]

    def _confidence(self, seen: torch.Tensor, sequence: torch.Tensor) -> float:
        """The mean probability of a caption's tokens, its end included.

        Args:
            seen: what the encoder made of the picture; shape (patches, size).
            sequence: token ids with the start token; shape (length,).
        """
        from ..decoding.confidence import mean_probability

        config = self._model.config.text_config
        is_end = sequence[1:] == config.sep_token_id
        said = sequence[: int(is_end.int().argmax()) + 2] if is_end.any() else sequence
        logits = self._model.text_decoder(
            input_ids=said[None, :-1], encoder_hidden_states=seen[None], use_cache=False
        ).logits
        scores = logits[0].float().log_softmax(-1).gather(1, said[1:, None])
        return mean_probability(scores[:, 0].tolist())


register_variants(Blip, (BASE, LARGE))
