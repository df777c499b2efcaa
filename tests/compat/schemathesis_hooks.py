"""What Schemathesis cannot guess: the id of a model that is there, and a question that it can answer soon."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import schemathesis

from compat.live import MODEL

CHATS = ("/v1/chat/completions", "/api/chat")
ASKING = (*CHATS, "/api/generate", "/api/show")
QUESTION = "Count the shapes."
_turns = cycle(("question", "nothing", "model", "nothing", "nothing"))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Some requests that name a model at random get one that is there, and of these some get a question."""
    is_asking = case.path in ASKING and isinstance(case.body, dict) and isinstance(case.body.get("model"), str)
    turn = next(_turns) if is_asking else "nothing"
    if turn == "nothing":
        return
    case.body["model"] = MODEL
    if "keep_alive" in case.body:
        case.body["keep_alive"] = "5m"  # to load it anew each time takes minutes
    if turn == "question":
        case.body |= _question(case.path)


def _question(path: str) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": QUESTION}]} if path in CHATS else {"prompt": QUESTION}
    return {**asked, "max_tokens": 4} if path == CHATS[0] else {**asked, "options": {"num_predict": 4}}
