"""Patterns of JSON schemas (ECMA-262) as the grammar's regular expressions, which differ from them without a word."""

from __future__ import annotations

import re

from .words import UnusableSchema

LONGEST_PATTERN = 1000
_SPACES = r"\t\n\x0b\x0c\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}"
_CLASSES = {
    "d": "[0-9]", "D": "[^0-9]", "w": "[0-9A-Za-z_]", "W": "[^0-9A-Za-z_]", "s": f"[{_SPACES}]", "S": f"[^{_SPACES}]",
}  # fmt: skip
_CONTROLS = {"t": r"\t", "n": r"\n", "r": r"\r", "f": r"\x0c", "v": r"\x0b"}
_DOT = r"[^\n\r\x{2028}\x{2029}]"
_GROUP = re.compile(r"\((?!\?)|\(\?(?::|P?<[A-Za-z_][A-Za-z0-9_]*>)")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{[0-9]{1,4}(?:,[0-9]{0,4})?\})\??(?![*+?{])")
_HEX = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\})")
_PROPERTY = re.compile(r"\\[pP]\{[A-Za-z_]+(?:=[A-Za-z_]+)?\}")
_WRITABLE = r"^[^\x00-\x07\x0b\x0e-\x1f\x7f]*$"
_HIGH, _LOW = range(0xD800, 0xDC00), range(0xDC00, 0xE000)


def translate(pattern: object) -> list[str]:
    """Patterns for the grammar, all of which a text must fit: those without unwritable characters that fit this one.

    Raises:
        UnusableSchema: it is not a pattern, too long, or uses what is not known.
    """
    if not isinstance(pattern, str) or len(pattern) > LONGEST_PATTERN:
        raise UnusableSchema(f"pattern must be a text of at most {LONGEST_PATTERN} characters")
    translation = _Translation(pattern)
    text = translation.run()
    return [text, _WRITABLE] if translation.may_demand_unwritable else [text]


def is_writable(character: str) -> bool:
    """Whether it can stand in an answer's texts: a control character would need an escape that is not allowed."""
    return (character >= " " and character != "\x7f") or character in "\b\f\n\r\t"


class _Translation:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._done: list[str] = []
        self.may_demand_unwritable = False
        """The library leaves out such a character that a pattern demands, rather than to allow nothing."""

    def run(self) -> str:
        while self._at < len(self._pattern):
            self._step()
        return "".join(self._done)

    def _step(self) -> None:
        character = self._pattern[self._at]
        if character == "\\":
            self._done.append(self._escape())
        elif character == "[":
            self._class()
        elif character == ".":
            self._give(_DOT, 1)
        elif character == "(":
            self._match(_GROUP, "lookarounds and flags")
        elif character in "*+?{":
            self._match(_QUANTIFIER, "possessive and malformed quantifiers")
        else:
            self._plain(character)

    def _class(self) -> None:
        """Read from `[` to `]`; `[`, `&&`, `~~` and `--` are operators in the grammar's dialect, and plain here."""
        opening = "[^" if self._pattern.startswith("[^", self._at) else "["
        self._give(opening, len(opening))
        if self._rest.startswith("]"):
            raise _unknown("empty character classes")
        while not self._rest.startswith("]"):
            if not self._rest:
                raise _unknown("unclosed character classes")
            if self._rest[0] == "\\":
                self._done.append(self._escape(in_class=True))
            elif self._rest[0] == "-":
                self._hyphen()
            else:
                self._plain(self._rest[0])
        self._give("]", 1)

    def _plain(self, character: str) -> None:
        self.may_demand_unwritable |= not is_writable(character)
        self._give(f"\\{character}" if character in "[&~" else character, 1)

    def _hyphen(self) -> None:
        before, after = self._done[-1], self._rest[1:3]
        if after.startswith("-"):
            raise _unknown("ranges to or from a hyphen")
        is_range = before not in {"[", "[^", *_CLASSES.values()} and not after.startswith("]")
        is_range = is_range and not (after.startswith("\\") and after[1:] in _CLASSES)
        self._give("-" if is_range else r"\-", 1)

    def _escape(self, in_class: bool = False) -> str:
        if (matched := _PROPERTY.match(self._pattern, self._at)) is not None:
            self._at = matched.end()
            return matched[0]
        if (matched := _HEX.match(self._pattern, self._at)) is not None:
            return self._character(matched)
        name = self._rest[1:2]
        self._at += 2
        if name in _CLASSES:
            self.may_demand_unwritable |= in_class and name.isupper()
            return _CLASSES[name]
        self.may_demand_unwritable |= name == "v"
        if name in _CONTROLS:
            return _CONTROLS[name]
        if name == "b" and in_class:
            return r"\x08"
        if not name or (name.isalnum() and name.isascii()):
            raise _unknown("word boundaries, references back and rare escapes")
        is_plain = not name.isascii() or name in "<>/ " or not name.isprintable()
        return name if is_plain else f"\\{name}"

    def _character(self, matched: re.Match[str]) -> str:
        self._at = matched.end()
        number = int(next(part for part in matched.groups() if part), 16)
        if number in _HIGH and (low := _HEX.match(self._pattern, self._at)) and int(low[2] or "0", 16) in _LOW:
            self._at = low.end()
            number = 0x10000 + ((number - _HIGH.start) << 10) + int(low[2], 16) - _LOW.start
        if number in _HIGH or number in _LOW or number > 0x10FFFF:
            raise _unknown("characters that do not exist")
        self.may_demand_unwritable |= not is_writable(chr(number))
        return f"\\x{{{number:x}}}"

    def _match(self, wanted: re.Pattern[str], otherwise: str) -> None:
        matched = wanted.match(self._pattern, self._at)
        if matched is None:
            raise _unknown(otherwise)
        self._give(matched[0], len(matched[0]))

    def _give(self, text: str, count: int) -> None:
        self._done.append(text)
        self._at += count

    @property
    def _rest(self) -> str:
        return self._pattern[self._at :]


def _unknown(what: str) -> UnusableSchema:
    return UnusableSchema(f"a pattern uses what cannot be followed: {what} cannot")
