"""Beam search in which all beams of a picture look at one copy of it.

Transformers gives each beam its own: with four beams it computes, keeps and reads four times what it needs, and sorts
the copies after each token.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, EncoderDecoderCache
from transformers.masking_utils import eager_mask
from transformers.modeling_outputs import BaseModelOutput

from ...decoding.confidence import mean_probability

_NAME = "llm_vision_beams"


class _PictureCache(EncoderDecoderCache):
    """Keys and values of each beam's tokens, and of each picture; only the former change places."""

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        self.self_attention_cache.reorder_cache(beam_idx)


def prepare(model: Any) -> None:
    """Let a `VisionEncoderDecoderModel` with a BERT decoder work with `encode`."""
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, eager_mask)
    model.decoder.set_attn_implementation(_NAME)


def encode(model: Any, pixels: torch.Tensor) -> dict[str, Any]:
    """What `generate` needs of pictures, computed once.

    Args:
        model: made ready by `prepare`.
        pixels: shape (pictures, 3, side, side).
    """
    encoded = model.encoder(pixels).last_hidden_state
    seen = model.enc_to_dec_proj(encoded) if hasattr(model, "enc_to_dec_proj") else encoded
    cache = _PictureCache(DynamicCache(), DynamicCache())
    for number, layer in enumerate(model.decoder.bert.encoder.layer):
        attention = layer.crossattention.self
        shape = (*seen.shape[:2], attention.num_attention_heads, attention.attention_head_size)
        keys, values = (part(seen).view(shape).transpose(1, 2) for part in (attention.key, attention.value))
        cache.cross_attention_cache.update(keys, values, number)
        cache.is_updated[number] = True
    return {"encoder_outputs": BaseModelOutput(encoded), "past_key_values": cache}


def measure_confidences(model: Any, encoded: torch.Tensor, sequences: torch.Tensor) -> list[float]:
    """The mean probability of each text's tokens, its end included.

    Read off once the texts are there: the search would keep every score of every beam, a gigabyte for long texts.

    Args:
        model: a `VisionEncoderDecoderModel`.
        encoded: what the encoder made of the pictures; shape (pictures, patches, size).
        sequences: token ids with the start token; shape (pictures, length).
    """
    given, chosen = sequences[:, :-1], sequences[:, 1:]
    end, padding = model.generation_config.eos_token_id, model.generation_config.pad_token_id
    sure = []
    for picture in range(len(sequences)):
        one = slice(picture, picture + 1)
        output = model(encoder_outputs=(encoded[one],), decoder_input_ids=given[one], use_cache=False)
        scores = output.logits[0].float().log_softmax(-1).gather(1, chosen[picture, :, None])[:, 0]
        ended = (chosen[picture] == end).cumsum(0) - (chosen[picture] == end).long()  # 1 behind the end
        is_said = (ended == 0) & (chosen[picture] != padding)
        sure.append(mean_probability(scores[is_said].tolist()))
    return sure


def _attend(  # noqa: PLR0913, PLR0917  (the interface is Transformers' own)
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention (Vaswani et al., 2017); the beams of a picture are as many queries to it.

    Args:
        query: shape (pictures * beams, heads, tokens, size).
        key, value: shape (pictures * beams or pictures, heads, length, size).

    Returns:
        Shape (pictures * beams, tokens, heads, size).
    """
    rows, heads, tokens, size = query.shape
    pictures = len(key)
    is_shared = pictures != rows
    if is_shared:
        query = query.view(pictures, -1, heads, tokens, size).transpose(1, 2).reshape(pictures, heads, -1, size)
    weights = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None and not is_shared:
        weights = weights + attention_mask
    seen = weights.softmax(-1) @ value
    if is_shared:
        seen = seen.view(pictures, heads, -1, tokens, size).transpose(1, 2).reshape(rows, heads, tokens, size)
    return seen.transpose(1, 2).contiguous(), None
