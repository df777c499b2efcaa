"""What all requests of tasks have in common."""

from __future__ import annotations

from typing import Protocol, TypeVar

from ..base import JsonObject

ResultT_co = TypeVar("ResultT_co", covariant=True)


class TaskRequest(Protocol[ResultT_co]):
    """One request of a task."""

    def as_json(self) -> JsonObject:
        """The options that go to the model's process."""

    def parse_result(self, value: JsonObject) -> ResultT_co:
        """What came back."""
