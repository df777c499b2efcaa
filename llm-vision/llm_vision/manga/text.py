"""Text of lines as one string, and the characters that a Japanese typesetter would have set."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

_KATAKANA = "ァ-ヺ"
_KANA = "ぁ-ゖァ-ヺー"
_LIKE_A_LONG_VOWEL = re.compile(rf"(?<=[{_KANA}])[|lI丨｜∣]|(?<=[{_KATAKANA}])[一—–―](?=[{_KANA}!?！？…。、]|$)")
_KATAKANA_TWINS = str.maketrans("力口二八夕工卜一", "カロニハタエトー")
_BESIDE_KATAKANA = re.compile(
    rf"(?<=[{_KATAKANA}ー])[力口二八夕工卜一]+(?![一-鿿])|(?<![一-鿿])[力口二八夕工卜]+(?=[{_KATAKANA}])"
)
_STRAY = re.compile(r"[!-~]|[0OoXx]{2,3}|[（）丨丿−]")
"""What a reader makes of a piece of an outline or of the small circles of a thought: no word of Japanese."""
_DOTS = re.compile(r"(?:[.．・·]{2,}|…)+")
_FULL_WIDTH = str.maketrans(
    {
        "!": "！",
        "?": "？",
        ",": "、",
        "~": "〜",
        "～": "〜",
        "｡": "。",
        "､": "、",
        "(": "（",
        ")": "）",
        ":": "：",
        "．": "。",
    }
)
_KEPT_OLD_FORMS = frozenset("龍瀧櫻澤濱嶋")
"""Old forms that names still use: a reader that saw one was right."""


def join_lines(texts: Iterable[str]) -> str:
    """Lines as one string: without spaces between Chinese or Japanese characters, with one elsewhere."""
    joined = ""
    for text in (text.strip() for text in texts):
        if joined and text and not (_is_spaceless(joined[-1]) or _is_spaceless(text[0])):
            joined += " "
        joined += text
    return joined


def to_japanese(text: str, to_japanese_form: Callable[[str], str]) -> str:
    """What a reader trained on Chinese and Japanese read, as Japanese is written.

    Args:
        text: a line.
        to_japanese_form: maps a Chinese character form to the one that Japan uses.
    """
    text = "".join(character if character in _KEPT_OLD_FORMS else to_japanese_form(character) for character in text)
    if not any(_is_spaceless(character) for character in text):
        return text  # words in Latin letters keep their own punctuation
    text = _LIKE_A_LONG_VOWEL.sub("ー", text.replace(" ", ""))
    text = _BESIDE_KATAKANA.sub(lambda match: match[0].translate(_KATAKANA_TWINS), text)
    return _DOTS.sub("…", text).translate(_FULL_WIDTH)


def is_stray(text: str) -> bool:
    """Whether a whole line is only what a piece of an outline looks like."""
    return _STRAY.fullmatch(text) is not None and text not in "!?"


def _is_spaceless(character: str) -> bool:
    """Whether a character belongs to a script that sets no spaces, or is its punctuation."""
    return unicodedata.east_asian_width(character) in "WF" or character in "…‥"
