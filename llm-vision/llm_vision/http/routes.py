"""The routes as the gate sees them: which one a path belongs to, and what HEAD means there."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

UNMATCHED = "unmatched"


class Routes:
    """All routes that may answer.

    Args:
        routes: in the order in which they are tried.
    """

    def __init__(self, routes: Sequence[BaseRoute] = ()) -> None:
        self._routes = routes

    def name(self, scope: Scope) -> str:
        """The template of the route that a request is for, as a label with few values; also with a wrong method."""
        found = [route for route in self._routes if self._match(route, scope) is not Match.NONE]
        return getattr(found[0], "path", UNMATCHED) if found else UNMATCHED

    def answering_head(self, scope: Scope) -> Scope:
        """A request as a route answers it: HEAD as GET, where it has no answer of its own; the server sends no body."""
        as_get = {**scope, "method": "GET"}
        if scope["method"] != "HEAD" or self._is_answered(scope) or not self._is_answered(as_get):
            return scope
        return as_get

    def _is_answered(self, scope: Scope) -> bool:
        return any(self._match(route, scope) is Match.FULL for route in self._routes)

    @staticmethod
    def _match(route: BaseRoute, scope: Scope) -> Match:
        return route.matches(scope)[0]


def without_last_slash(path: str) -> str:
    """A path as routes have it."""
    return path[:-1] if len(path) > 1 and path.endswith("/") else path
