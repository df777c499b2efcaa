"""What is kept for each client, so that it need not be computed again; nobody meets what is kept for another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import ItemsView
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class FairStore(Generic[Key, Value]):
    """Values of several owners, as many as fit.

    Where there is no room, whoever has most values gives up the one that it used longest ago; among equals, whoever
    came longest ago does. So an owner loses its last value only when nobody has two, however much another one stores.

    Args:
        max_bytes: of all values together.
        most: values of all owners together.
    """

    def __init__(self, max_bytes: int, most: int | None = None) -> None:
        self.max_bytes = max_bytes
        self._most = most
        self._values: OrderedDict[str, OrderedDict[Key, Value]] = OrderedDict()
        self._sizes: dict[tuple[str, Key], int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def size_bytes(self) -> int:
        """Of all values together."""
        return self._bytes

    def items(self, owner: str) -> ItemsView[Key, Value]:
        """What is kept for an owner."""
        return self._values.get(owner, OrderedDict()).items()

    def use(self, owner: str, key: Key) -> Value | None:
        """A value of an owner, which is used now; None where there is none."""
        mine = self._values.get(owner)
        if mine is None or key not in mine:
            return None
        mine.move_to_end(key)
        self._values.move_to_end(owner)
        return mine[key]

    def put(self, owner: str, key: Key, value: Value, size: int) -> None:
        """Keep a value of `size` bytes, unless it is larger than all may be together."""
        if size > self.max_bytes:
            return
        mine = self._values.setdefault(owner, OrderedDict())
        self._bytes += size - self._sizes.get((owner, key), 0)
        self._sizes[owner, key] = size
        mine[key] = value
        self.use(owner, key)
        while self._bytes > self.max_bytes or (self._most is not None and len(self) > self._most):
            self._drop_one()

    def _drop_one(self) -> None:
        owner = max(self._values, key=lambda owner: len(self._values[owner]))  # of equals, the first
        oldest, _ = self._values[owner].popitem(last=False)
        self._bytes -= self._sizes.pop((owner, oldest))
        if not self._values[owner]:
            del self._values[owner]

    def clear(self) -> None:
        """Keep nothing."""
        self._values.clear()
        self._sizes.clear()
        self._bytes = 0
