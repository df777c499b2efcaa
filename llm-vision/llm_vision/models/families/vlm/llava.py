"""LLaVA 1.5, LLaVA 1.6 (NeXT) and LLaVA-OneVision."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ...base import JsonObject, UnusableWeights
from ...registry import register_variants
from .model import VisionLanguageModel
from .prompt import write_template
from .variants import PREFIX_BYTES, Variant

if TYPE_CHECKING:
    import torch

IMAGE = "<image>"
VICUNA = write_template(
    IMAGE=f"{IMAGE}\n", SYSTEM="", AFTER_SYSTEM=" ", USER="USER: ", AFTER_USER=" ", ASSISTANT="ASSISTANT: ",
    AFTER_ASSISTANT="</s>", ASSISTANT_NEXT="ASSISTANT:",
)  # fmt: skip
MISTRAL = write_template(
    IMAGE=f"{IMAGE}\n", SYSTEM="<<SYS>>\n", AFTER_SYSTEM="\n<</SYS>>\n\n", USER="[INST] ", AFTER_USER=" [/INST]",
    ASSISTANT=" ", AFTER_ASSISTANT="</s>", ASSISTANT_NEXT="",
)  # fmt: skip
CHATML = write_template(
    IMAGE=f"{IMAGE}\n", SYSTEM="<|im_start|>system\n", AFTER_SYSTEM="<|im_end|>\n", USER="<|im_start|>user\n",
    AFTER_USER="<|im_end|>\n", ASSISTANT="<|im_start|>assistant\n", AFTER_ASSISTANT="<|im_end|>\n",
    ASSISTANT_NEXT="<|im_start|>assistant\n",
)  # fmt: skip
_LLAMA = "Llama 2 Community"
VARIANTS = (
    Variant("llava-hf/llava-1.5-7b-hf", "llava", "LLaVA 1.5 7B", _LLAMA, 7.06, VICUNA,
            ("liuhaotian/llava-v1.5-7b", "llava:v1.5", "llava:7b-v1.5")),
    Variant("llava-hf/llava-1.5-13b-hf", "llava", "LLaVA 1.5 13B", _LLAMA, 13.35, VICUNA,
            ("liuhaotian/llava-v1.5-13b", "llava:13b-v1.5")),
    Variant("llava-hf/llava-v1.6-mistral-7b-hf", "llava_next", "LLaVA 1.6 Mistral 7B", "Apache-2.0", 7.57, MISTRAL,
            ("liuhaotian/llava-v1.6-mistral-7b", "llava", "llava:7b", "llava:v1.6", "llava:7b-v1.6",
             "llava:7b-v1.6-mistral", "bakllava", "bakllava:7b", "bakllava:7b-v1", "llava-llama3", "llava-llama3:8b",
             "llava-llama3:8b-v1.1")),
    Variant("llava-hf/llava-v1.6-vicuna-7b-hf", "llava_next", "LLaVA 1.6 Vicuna 7B", _LLAMA, 7.06, VICUNA,
            ("liuhaotian/llava-v1.6-vicuna-7b", "llava:7b-v1.6-vicuna"), prefix_bytes=3 * PREFIX_BYTES),
    Variant("llava-hf/llava-v1.6-vicuna-13b-hf", "llava_next", "LLaVA 1.6 Vicuna 13B", _LLAMA, 13.35, VICUNA,
            ("liuhaotian/llava-v1.6-vicuna-13b", "llava:13b", "llava:13b-v1.6", "llava:13b-v1.6-vicuna"),
            prefix_bytes=5 * PREFIX_BYTES),
    Variant("llava-hf/llava-v1.6-34b-hf", "llava_next", "LLaVA 1.6 34B", "Apache-2.0", 34.75, CHATML,
            ("liuhaotian/llava-v1.6-34b", "llava:34b", "llava:34b-v1.6"), prefix_bytes=2 * PREFIX_BYTES),
    Variant("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "llava_onevision", "LLaVA-OneVision 0.5B", "Apache-2.0", 0.89,
            CHATML, ("llava-phi3", "llava-phi3:3.8b", "llava-phi3:3.8b-mini"), max_batch=8),
    Variant("llava-hf/llava-onevision-qwen2-7b-ov-hf", "llava_onevision", "LLaVA-OneVision 7B", "Apache-2.0", 8.03,
            CHATML),
)  # fmt: skip


class Llava(VisionLanguageModel):
    """A CLIP or SigLIP tower, and Llama, Mistral or Qwen2."""

    variants = VARIANTS
    classes: ClassVar[Mapping[str, tuple[str, str]]] = {
        "llava": ("LlavaForConditionalGeneration", "CLIPImageProcessorPil"),
        "llava_next": ("LlavaNextForConditionalGeneration", "LlavaNextImageProcessorPil"),
        "llava_onevision": ("LlavaOnevisionForConditionalGeneration", "LlavaOnevisionImageProcessorPil"),
    }
    image_mark = IMAGE

    def check_config(self, config: JsonObject, variant: Variant) -> None:
        """Refuse the format of LLaVA's authors too: Transformers would read it as a LLaVA of other sizes."""
        if "mm_vision_tower" in config or "LlavaLlamaForCausalLM" in str(config.get("architectures")):
            raise UnusableWeights(
                f"these files are in the format of LLaVA's authors; those of {variant.repo} are needed"
            )
        super().check_config(config, variant)

    def features(self, pictures: Sequence[Any]) -> Iterator[torch.Tensor]:
        """Of each picture, shape (tokens, width); NeXT's and OneVision's vary with its size."""
        inputs = self.processor([list(pictures)], return_tensors="pt").to(self.network.device, self.network.dtype)
        for part in _parts(len(pictures)):
            given = {name: values[part] for name, values in inputs.items()}
            if "batch_num_images" in inputs:
                given["batch_num_images"] = [part.stop - part.start]
            yield from self.network.get_image_features(**given).pooler_output


def _parts(count: int) -> Iterator[slice]:
    """Two pictures at a time, or three at the end: OneVision looks more closely at one that is alone."""
    ends = [*range(2, count - 1, 2), count]
    return itertools.starmap(slice, itertools.pairwise([0, *ends]))


register_variants(Llava, [variant.spec for variant in VARIANTS])
