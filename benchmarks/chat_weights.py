"""Writes checkpoints whose answers never end early, so that both servers generate the same number of tokens."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from fixtures.random_llavas import written
from fixtures.tiny_models import LLAVA, copied

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
VOCABULARY = 152_000


def write_tiny(folder: Path) -> None:
    """The tiny trained LLaVA, which never ends an answer: the marks' logits are always 0."""
    file = copied(LLAVA, folder) / "model.safetensors"
    tensors = load_file(file)
    next(tensor for name, tensor in tensors.items() if name.endswith("lm_head.weight"))[:4] = 0
    save_file(tensors, file, {"format": "pt"})


def write_onevision(folder: Path) -> None:
    """The parts and sizes of LLaVA-OneVision 0.5B with random weights, and words for a vocabulary of its size.

    Its processor is called LLaVA-NeXT's, which makes the same of one square picture: its own wants Torchvision.
    """
    vision = transformers.SiglipVisionConfig(hidden_size=1152, intermediate_size=4304, num_hidden_layers=26,
                                             num_attention_heads=16, image_size=384, patch_size=14,
                                             vision_use_head=False)  # fmt: skip
    text = transformers.Qwen2Config(hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
                                    num_attention_heads=14, num_key_value_heads=2, vocab_size=VOCABULARY,
                                    eos_token_id=0, tie_word_embeddings=True)  # fmt: skip
    pictures = transformers.LlavaOnevisionImageProcessorPil()
    config = transformers.LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=MARKS.index("<image>"),
        video_token_index=MARKS.index("<video>"), image_grid_pinpoints=pictures.image_grid_pinpoints,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    written("llava_onevision", folder, config=config, original_names=False)
    torch.set_default_dtype(torch.float32)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*MARKS, *letters, *(f"\u0120w{number}" for number in range(VOCABULARY - len(MARKS) - len(letters)))]
    backend = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(MARKS))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=MARKS[0], pad_token=MARKS[0])
    template = (
        "{% for message in messages %}{{ '<|im_start|>' + message.role }} {% for part in message.content %}"
        "{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}<|im_end|>{% endfor %}assistant:"
    )
    transformers.LlavaNextProcessor(
        pictures, tokenizer, patch_size=14, vision_feature_select_strategy="full", chat_template=template
    ).save_pretrained(folder)
