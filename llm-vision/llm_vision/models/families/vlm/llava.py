"""LLaVA 1.5, LLaVA 1.6 (NeXT) and LLaVA-OneVision: answer questions about pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ....errors import ContextLengthExceeded, InvalidParameter
from ...base import Item, JsonObject, LoadContext, SteppedModel
from ...registry import register_variants
from ...tool_text import may_be_words
from .variants import FEATURE_BYTES, VARIANTS

if TYPE_CHECKING:
    import torch

    from ...decoding.loop import Prompt
    from ...decoding.row import Row
    from ...grammar.grammar import Grammars
    from .pictures import SeenPicture


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
        from .checkpoint import check_folder, end_tokens, load_checkpoint
        from .pictures import PictureMemory

        assert context.weights_root is not None  # noqa: S101
        torch.set_num_threads(context.threads)
        folder = context.weights_root
        self._variant = next(variant for variant in VARIANTS if variant.repo == context.model_id)
        check_folder(folder, self._variant)
        self._model, self._processor = load_checkpoint(self._variant, folder, context)
        tokenizer = hf.load_part(AutoTokenizer, folder)
        template = prompt.template_of(folder, tokenizer) or getattr(prompt, self._variant.template)
        self._writer = prompt.PromptWriter(tokenizer, template)
        self._writer.check(self._model.config.image_token_id)
        self._tokenizer = tokenizer.backend_tokenizer
        ends = end_tokens(self._model, tokenizer)
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


register_variants(Llava, [variant.spec for variant in VARIANTS])
