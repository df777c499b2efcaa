"""Answers questions about pictures: what all vision-language models have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from ....errors import ContextLengthExceeded, InvalidParameter, VisionError
from ...base import Item, JsonObject, LoadContext, SteppedModel, UnusableWeights
from ...tasks.chat import Converse, Decide, Sampling, chat_from_json
from ...tool_text import may_be_words
from .looking import Looking
from .variants import FEATURE_BYTES, Variant

if TYPE_CHECKING:
    import torch

    from ...decoding.loop import Prompt
    from ...decoding.row import Row

Shape = tuple[int, ...]


class VisionLanguageModel(SteppedModel):
    """A language model that reads what a vision tower makes of pictures as tokens among the text.

    A family says what its checkpoints are, what its tower makes of pictures, and where the tokens stand. Memory, kept
    prefixes and pictures, choices, grammars and number formats are the same for all.
    """

    variants: ClassVar[Sequence[Variant]]
    classes: ClassVar[Mapping[str, tuple[str, str]]]
    """Model and picture processor of Transformers, by `model_type`."""
    image_mark: ClassVar[str]
    """The token that its template writes once for each picture."""

    network: Any
    """The model of Transformers; it names its language model (`get_decoder`) and the token of a picture."""
    processor: Any

    @abstractmethod
    def features(self, pictures: Sequence[Any]) -> Iterator[torch.Tensor]:
        """What the vision tower makes of each RGB picture of a request, one after the other.

        Others get their tokens in between.

        Yields:
            For each, shape (tokens, width), or (rows, columns, width).
        """

    def positions(self, shapes: Sequence[Shape]) -> torch.Tensor:
        """Positions of a prompt's tokens: one after the other.

        Args:
            shapes: for each token of text `()`; for each picture the shape of its tokens.

        Returns:
            Shape (1, tokens), or (axes, 1, tokens) where the decoder has positions of several axes. The answer goes on
            behind the highest.
        """
        import torch

        return torch.arange(sum(map(prod, shapes)))[None]

    def check_config(self, config: JsonObject, variant: Variant) -> None:
        """Refuse a checkpoint of another kind.

        Raises:
            UnusableWeights: its config.json is not that of the variant; the text names the right one.
        """
        if config.get("model_type") != variant.kind:
            raise UnusableWeights(f"config.json belongs to another kind of model; {variant.repo} is needed")

    def load(self, context: LoadContext) -> None:
        import torch
        from transformers import AutoTokenizer

        from ...decoding.language_model import LanguageModel
        from ...decoding.loop import Decoding
        from ...decoding.prefixes import PrefixStore
        from ...grammar.constraints import Constraints
        from ...loading import hf
        from .checkpoint import find_end_tokens, load_checkpoint, read_config
        from .pictures import PictureMemory
        from .prompt import PromptWriter, find_template

        assert context.weights_root is not None  # noqa: S101
        torch.set_num_threads(context.threads)
        folder = context.weights_root
        variant = next(variant for variant in self.variants if variant.repo == context.model_id)
        self.check_config(read_config(folder), variant)
        self.network, self.processor = load_checkpoint(self.classes[variant.kind], folder, context)
        tokenizer = hf.load_part(AutoTokenizer, folder)
        self._image_token = self.network.config.image_token_id
        self._writer = PromptWriter(tokenizer, find_template(folder, tokenizer) or variant.template, self.image_mark)
        self._writer.check(self._image_token)
        self._tokenizer = tokenizer.backend_tokenizer
        self._ends, head = find_end_tokens(self.network, tokenizer), self.network.get_output_embeddings()
        language = LanguageModel(self.network.get_decoder(), head, self._ends)
        self._constraints = Constraints(tokenizer, self._ends, head.out_features)
        self._context = self.network.config.get_text_config().max_position_embeddings
        self._prefixes = PrefixStore(variant.prefix_bytes)
        self._memory = PictureMemory(self.features, FEATURE_BYTES)
        self._decoding = Decoding(language, self._prefixes)
        self._looking: deque[Looking] = deque()
        self._failed: list[tuple[Item, Exception]] = []
        """What is to be told of yet: a step may fail behind a request that did."""
        with torch.inference_mode():
            language.follow([0], 0, language.new_cache())  # prepares the rest

    @property
    def can_join(self) -> bool:
        """Not while a prompt is being read: looking at another picture would keep its answer waiting."""
        return not (self._looking or self._decoding.has_unread)

    def join(self, item: Item) -> None:
        """Take a request in; its pictures are looked at, and its prompt is read, in the following steps."""
        looking = Looking(item, partial(self._prepare, item, item.images))
        looking.go_on()
        self._looking.append(looking)

    def step(self) -> list[tuple[Item, JsonObject | Exception]]:
        """One more token for each answer, and one more picture or some more of a prompt."""
        import torch

        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            if self._looking and not (self._looking[0].waits and self._decoding.is_answering):
                self._look(self._looking[0])
            ended = self._decoding.step()
        failed, self._failed = self._failed, []
        return [*failed, *((row.item, outcome) for row, outcome in ended)]

    def _look(self, looking: Looking) -> None:
        """Go on with the pictures; with fewer things in memory where that fails for the first time."""
        try:
            prompt = looking.go_on()
        except Exception as error:
            if isinstance(error, VisionError) or looking.waits:
                self._looking.popleft()
                self._failed.append((looking.item, error))
            else:
                error.__traceback__ = None  # its frames hold the tensors
                self.let_go()
            return
        if prompt:
            self._looking.popleft()
            self._decoding.join(prompt)

    def leave(self, item: Item) -> None:
        self._looking = deque(looking for looking in self._looking if looking.item is not item)
        self._failed = [(other, error) for other, error in self._failed if other is not item]
        self._decoding.leave(item)

    def shrink(self) -> Item | None:
        row = self._decoding.shrink()
        return row.item if row else None

    def let_go(self) -> None:
        for looking in self._looking:
            looking.begin_again()
        self._prefixes.clear()
        self._memory.clear()

    def _prepare(self, item: Item, images: Sequence[Any]) -> Generator[None, None, Prompt]:
        """A request as the language model reads it; with a pause before its pictures, and one behind each.

        Raises:
            InvalidParameter: there are other pictures than the messages say.
            InvalidToolSchema: an answer cannot be made to fit what is asked for.
            ContextLengthExceeded: there are more tokens than the model can read.
        """
        from ...decoding.loop import Prompt

        request = chat_from_json(item.params)
        ids = self._writer.tokenize(self._writer.write([turn.as_json() for turn in request.turns]))
        if ids.count(self._image_token) != len(images):
            raise InvalidParameter("the messages do not say where the pictures are", param="messages")
        if len(ids) >= self._context:  # before the pictures are looked at
            raise self._too_long(len(ids))
        yield
        pictures = yield from self._memory.see(item.owner, images)
        coming = iter(pictures)
        parts = [next(coming) if id_ == self._image_token else id_ for id_ in ids]
        key = [
            number
            for part in parts
            for number in ([part] if isinstance(part, int) else [part.number] * prod(part.shape))
        ]
        if len(key) >= self._context:
            raise self._too_long(len(key))
        embedded = self._embed(key, [picture.features for picture in pictures])
        positions = self.positions([() if isinstance(part, int) else part.shape for part in parts])
        row = self._row(item, request, len(key))
        row.position_shift = int(positions.max()) + 1 - len(key)
        return Prompt(row, embedded, positions.to(embedded.device), key)

    def _embed(self, key: Sequence[int], features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Tokens of text and pictures (negative numbers); shape (1, tokens, width)."""
        import torch

        tokens = torch.tensor([[max(number, 0) for number in key]], device=self.network.device)
        embedded: torch.Tensor = self.network.get_input_embeddings()(tokens)
        if features:
            seen = torch.cat([feature.flatten(0, -2) for feature in features]).to(embedded.dtype)
            places = torch.tensor([[number < 0 for number in key]], device=embedded.device)
            embedded = embedded.masked_scatter(places[..., None], seen)
        return embedded

    def _too_long(self, count: int) -> ContextLengthExceeded:
        return ContextLengthExceeded(f"the request has {count} tokens; the model reads {self._context}")

    def _row(self, item: Item, request: Converse | Decide, prompt_tokens: int) -> Row:
        from ...decoding.choices import Choices
        from ...decoding.row import Row
        from ...decoding.sampling import Sampler, TokenSampling
        from ...decoding.text import TextStream

        if isinstance(request, Decide):
            sampling, response_format = Sampling(), None
            choices = Choices(request.choices, self._writer.tokenize_more, self._ends)
        else:
            sampling, response_format, choices = request.sampling, request.response_format, None
        return Row(
            item=item,
            sampler=Sampler(TokenSampling(sampling.temperature or 0.0, sampling.top_p or 1.0, sampling.seed)),
            stream=TextStream(self._tokenizer, sampling.stop if may_be_words(response_format) else ()),
            prompt_tokens=prompt_tokens,
            max_tokens=min(sampling.max_tokens, self._context - prompt_tokens),
            top_logprobs=sampling.top_logprobs,
            constraint=self._constraints.constraint(response_format) if response_format else None,
            choices=choices,
        )
