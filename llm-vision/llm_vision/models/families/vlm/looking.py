"""A request whose pictures are looked at, one after the other, while others are being answered."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....errors import ClientClosed
from ...base import Item

if TYPE_CHECKING:
    from ...decoding.loop import Prompt


@dataclass(eq=False)
class Looking:
    """What is done for a request before its prompt is read.

    Args:
        item: the request.
        prepare: does it, with a pause behind each part; its value is the prompt.
    """

    item: Item
    prepare: Callable[[], Generator[None, None, Prompt]]
    waits: bool = False
    """Whether it goes on only when nobody else is being answered: memory was short."""
    _parts: Generator[None, None, Prompt] | None = None

    def go_on(self) -> Prompt | None:
        """Do the next part; the prompt behind the last one.

        Raises:
            ClientClosed: nobody waits for it.
        """
        if self.item.cancelled:
            raise ClientClosed("nobody waits for this answer")
        self._parts = self._parts or self.prepare()
        try:
            next(self._parts)
        except StopIteration as end:
            prompt: Prompt = end.value
            return prompt
        return None

    def begin_again(self) -> None:
        """Forget what was done, and wait until the others are answered."""
        self._parts, self.waits = None, True
