"""LLaVA 1.5, LLaVA 1.6 (NeXT) and LLaVA-OneVision: answer questions about pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import ContextLengthExceeded, InvalidParameter
from ...base import (
    Item,
    JsonObject,
    LoadContext,
    ModelSpec,
    Quantization,
    SteppedModel,
    Task,
    UnusableWeights,
    Volume,
    Weights,
)
from ...registry import register_variants
from ...tool_text import may_be_words

if TYPE_CHECKING:
    import torch

    from ...decoding.loop import Prompt
    from ...decoding.row import Row
    from ...grammar.grammar import Grammars
    from .pictures import SeenPicture

GIGABYTE = 10**9
PREFIX_BYTES = 512 * 1024 * 1024
"""What was read before, kept for the next question: of LLaVA 1.5 7B, the 620 tokens of one picture take 330 MB."""
FEATURE_BYTES = 64 * 1024 * 1024
"""Pictures that were looked at: one takes up to 24 MB (LLaVA 1.6, 2,880 tokens 4,096 wide)."""
WORKING_BYTES = 1 * GIGABYTE + FEATURE_BYTES
"""Beside its weights and prefixes: the libraries, a picture and its features, the tokens of a few requests."""
LONGEST_STEP = 60.0
"""Seconds for one layer of the largest model, or for looking at the largest picture, on a slow processor."""


@dataclass(frozen=True)
class Variant:
    """A published checkpoint."""

    repo: str
    kind: str
    """`model_type` of its config.json."""
    title: str
    license: str
    parameters: float
    """In thousands of millions."""
    template: str
    """Name of the template in `prompt` for a checkpoint without one."""
    alias: str | None = None
    """Its authors' own name for it, in a format that Transformers does not read."""
    max_batch: int = 4
    prefix_bytes: int = PREFIX_BYTES
    """Room for prompts that were read: at least one of a picture, of 2,900 tokens for LLaVA 1.6."""

    @property
    def spec(self) -> ModelSpec:
        """What the gateway knows of it."""
        working_bytes = WORKING_BYTES + self.prefix_bytes
        return ModelSpec(
            model_id=self.repo,
            title=self.title,
            tasks=frozenset({Task.CHAT}),
            license=self.license,
            memory_bytes=int(self.parameters * 2 * GIGABYTE) + working_bytes,
            max_batch=self.max_batch,
            devices=frozenset({"cpu", "cuda"}),
            weights=Weights(self.repo, Volume.LLAVA, self.kind),
            quantizable=frozenset({"cpu", "cuda"}),
            working_bytes=working_bytes,
            aliases=(self.alias,) if self.alias else (),
            is_stepped=True,
            longest_step=LONGEST_STEP,
        )


_LLAMA = "Llama 2 Community"
VARIANTS = (
    Variant("llava-hf/llava-1.5-7b-hf", "llava", "LLaVA 1.5 7B", _LLAMA, 7.06, "VICUNA", "liuhaotian/llava-v1.5-7b"),
    Variant("llava-hf/llava-1.5-13b-hf", "llava", "LLaVA 1.5 13B", _LLAMA, 13.35, "VICUNA",
            "liuhaotian/llava-v1.5-13b"),
    Variant("llava-hf/llava-v1.6-mistral-7b-hf", "llava_next", "LLaVA 1.6 Mistral 7B", "Apache-2.0", 7.57, "MISTRAL",
            "liuhaotian/llava-v1.6-mistral-7b"),
    Variant("llava-hf/llava-v1.6-vicuna-7b-hf", "llava_next", "LLaVA 1.6 Vicuna 7B", _LLAMA, 7.06, "VICUNA",
            "liuhaotian/llava-v1.6-vicuna-7b", prefix_bytes=3 * PREFIX_BYTES),
    Variant("llava-hf/llava-v1.6-vicuna-13b-hf", "llava_next", "LLaVA 1.6 Vicuna 13B", _LLAMA, 13.35, "VICUNA",
            "liuhaotian/llava-v1.6-vicuna-13b", prefix_bytes=5 * PREFIX_BYTES),
    Variant("llava-hf/llava-v1.6-34b-hf", "llava_next", "LLaVA 1.6 34B", "Apache-2.0", 34.75, "CHATML",
            "liuhaotian/llava-v1.6-34b", prefix_bytes=2 * PREFIX_BYTES),
    Variant("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "llava_onevision", "LLaVA-OneVision 0.5B", "Apache-2.0", 0.89,
            "CHATML", max_batch=8),
    Variant("llava-hf/llava-onevision-qwen2-7b-ov-hf", "llava_onevision", "LLaVA-OneVision 7B", "Apache-2.0", 8.03,
            "CHATML"),
)  # fmt: skip
_CLASSES = {
    "llava": ("LlavaForConditionalGeneration", "CLIPImageProcessorPil"),
    "llava_next": ("LlavaNextForConditionalGeneration", "LlavaNextImageProcessorPil"),
    "llava_onevision": ("LlavaOnevisionForConditionalGeneration", "LlavaOnevisionImageProcessorPil"),
}
"""Model and picture processor of Transformers, by `model_type`."""


class Llava(SteppedModel):
    """A vision tower whose features a language model reads as tokens among the text."""

    def load(self, context: LoadContext) -> None:
        import torch
        from transformers import AutoTokenizer

        from ...decoding.language_model import LanguageModel
        from ...decoding.loop import Decoding
        from ...decoding.prefixes import PrefixStore
        from ...loading import hf
        from . import prompt
        from .pictures import PictureMemory

        assert context.weights_root is not None  # noqa: S101
        torch.set_num_threads(context.threads)
        folder = context.weights_root
        self._variant = next(variant for variant in VARIANTS if variant.repo == context.model_id)
        check_folder(folder, self._variant)
        self._model, self._processor = _loaded(self._variant, folder, context)
        tokenizer = hf.load_part(AutoTokenizer, folder)
        template = prompt.template_of(folder, tokenizer) or getattr(prompt, self._variant.template)
        self._writer = prompt.PromptWriter(tokenizer, template)
        self._writer.check(self._model.config.image_token_id)
        self._tokenizer = tokenizer.backend_tokenizer
        ends = _end_tokens(self._model, tokenizer)
        language = LanguageModel(self._model.model.language_model, self._model.lm_head, ends)
        self._new_grammars = partial(_make_grammars, tokenizer, ends, self._model.lm_head.out_features)
        self._context = self._model.config.text_config.max_position_embeddings
        self._prefixes = PrefixStore(self._variant.prefix_bytes)
        self._memory = PictureMemory(self._features, FEATURE_BYTES)
        self._decoding = Decoding(language, self._prefixes)
        with torch.inference_mode():
            one_token = torch.tensor([[0]], device=self._model.device)
            language.read(self._model.get_input_embeddings()(one_token), language.new_cache())  # prepares the rest

    @cached_property
    def _grammars(self) -> Grammars:
        return self._new_grammars()

    @property
    def can_join(self) -> bool:
        """Not while a prompt is being read: looking at another picture would keep its answer waiting."""
        return not self._decoding.has_unread

    def join(self, item: Item) -> None:
        """Look at the pictures; the prompt is read in the following steps."""
        import torch

        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            prompt = self._prompt(item)
        self._decoding.join(prompt)

    def step(self) -> list[tuple[Item, JsonObject | Exception]]:
        """One more token for each answer, and some more of a prompt."""
        import torch

        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            ended = self._decoding.step()
        return [(row.item, outcome) for row, outcome in ended]

    def leave(self, item: Item) -> None:
        self._decoding.leave(item)

    def shrink(self) -> Item | None:
        row = self._decoding.shrink()
        return row.item if row else None

    def let_go(self) -> None:
        self._prefixes.clear()
        self._memory.clear()

    def _prompt(self, item: Item) -> Prompt:
        """A request as the language model reads it.

        Raises:
            InvalidParameter: there are other pictures than the messages say.
            InvalidToolSchema: an answer cannot be made to fit what is asked for.
            ContextLengthExceeded: there are more tokens than the model can read.
        """
        import torch

        from ...decoding.loop import Prompt

        ids = self._writer.tokens(self._writer.write(item.params["messages"]))
        image_token = self._model.config.image_token_id
        if ids.count(image_token) != len(item.images):
            raise InvalidParameter("the messages do not say where the pictures are", param="messages")
        if len(ids) >= self._context:  # before the pictures are looked at
            raise self._too_long(len(ids))
        pictures = self._memory.see(item.images) if item.images else []
        coming = iter(pictures)
        key = [part for id_ in ids for part in (_tokens_of(next(coming)) if id_ == image_token else [id_])]
        if len(key) >= self._context:
            raise self._too_long(len(key))
        tokens = torch.tensor([[max(part, 0) for part in key]], device=self._model.device)
        embedded: torch.Tensor = self._model.get_input_embeddings()(tokens)
        if pictures:
            seen = torch.cat([picture.features for picture in pictures]).to(embedded.dtype)
            places = torch.tensor([[part < 0 for part in key]], device=embedded.device)
            embedded = embedded.masked_scatter(places[..., None], seen)
        return Prompt(self._row(item, len(key)), embedded, key)

    def _too_long(self, count: int) -> ContextLengthExceeded:
        return ContextLengthExceeded(f"the request has {count} tokens; the model reads {self._context}")

    def _row(self, item: Item, prompt_tokens: int) -> Row:
        from ...decoding.choices import Choices
        from ...decoding.row import Row
        from ...decoding.sampling import Sampler, Sampling
        from ...decoding.text import TextStream

        params = item.params
        choices = params.get("choices")
        return Row(
            item=item,
            sampler=Sampler(Sampling(params["temperature"] or 0.0, params["top_p"] or 1.0, params["seed"])),
            stream=TextStream(self._tokenizer, params["stop"] if may_be_words(params.get("format")) else ()),
            prompt_tokens=prompt_tokens,
            max_tokens=min(params["max_tokens"], self._context - prompt_tokens),
            top_logprobs=params.get("logprobs"),
            constraint=self._grammars.constraint(params["format"]) if params.get("format") else None,
            choices=Choices(choices, self._writer.continued) if choices else None,
        )

    def _features(self, pictures: Sequence[Any]) -> list[torch.Tensor]:
        """What the vision tower makes of each RGB picture: shape (tokens, width); NeXT's varies with its size."""
        inputs = self._processor([list(pictures)], return_tensors="pt").to(self._model.device, self._model.dtype)
        found: Sequence[torch.Tensor] = self._model.get_image_features(**inputs).pooler_output
        return list(found)


def _make_grammars(tokenizer: Any, end_tokens: frozenset[int], vocabulary: int) -> Grammars:
    """Made when they are first needed: for 150,000 tokens that takes a second and 50 MB."""
    from ...grammar.grammar import Grammars

    return Grammars(tokenizer, end_tokens, vocabulary)


def _tokens_of(picture: SeenPicture) -> list[int]:
    return [picture.number] * len(picture.features)


def check_folder(folder: Path, variant: Variant) -> None:
    """Refuse a checkpoint of another kind.

    Raises:
        UnusableWeights: its config.json is not that of the variant; the text names the right one.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind, has_own_format = config.get("model_type"), "mm_vision_tower" in config
        has_own_format = has_own_format or "LlavaLlamaForCausalLM" in (config.get("architectures") or ())
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UnusableWeights("config.json cannot be read") from error
    if has_own_format:  # Transformers would read it as a LLaVA of other sizes, without a word
        raise UnusableWeights(f"these files are in the format of LLaVA's authors; those of {variant.repo} are needed")
    if kind != variant.kind:
        raise UnusableWeights(f"config.json is that of another kind of model; {variant.repo} is needed")


def _loaded(variant: Variant, folder: Path, context: LoadContext) -> tuple[Any, Any]:
    """The model and its picture processor.

    Raises:
        UnusableWeights: the files are not those of the variant.
    """
    import transformers

    from ...loading import bnb, hf
    from ...loading.int4 import load as int4

    model_class, processor_class = (getattr(transformers, name) for name in _CLASSES[variant.kind])
    processor = hf.load_part(processor_class, folder)
    dtype = hf.best_dtype(context.device)
    if context.quantization is Quantization.FOUR and context.device == "cpu":
        model = int4.load(model_class, folder, dtype)
    elif context.quantization is Quantization.NONE:
        model = hf.load_weights(model_class, folder, may_be_pickled=False, dtype=dtype).to(context.device)
    else:
        model = bnb.load(model_class, folder, context.device, context.quantization)
    return model, processor


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens with which the checkpoint ends its answers."""
    told = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(told if isinstance(told, list) else [told])}
    return frozenset(token for token in ends if token is not None)


register_variants(Llava, [variant.spec for variant in VARIANTS])
