"""What a prompt asks of a picture, as far as plain facts can answer it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Fact(StrEnum):
    """What can be said of a picture without a vision-language model."""

    KIND = "kind"
    SIZE = "size"
    THINGS = "things"
    COLORS = "colors"
    TEXT = "text"


EVERYTHING = frozenset(Fact)


@dataclass(frozen=True)
class Question:
    """A prompt, understood."""

    facts: frozenset[Fact]
    answerable: bool
    """Whether these facts are the whole answer. If not, they are only what can be said instead."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOPICS = {
    Fact.COLORS: _words(
        "color colors colour colours coloring colouring palette palettes hue hues tone tones shade shades "
        "monochrome grayscale greyscale hex rgb"
    ),
    Fact.TEXT: _words(
        "text texts word words written writing lettering letters read reads say says ocr transcribe "
        "transcription transcript inscription"
    ),
    Fact.SIZE: _words("size resolution dimension dimensions width height wide tall high big large pixel pixels"),
    Fact.KIND: _words("kind type sort"),
}
KINDS = _words(
    "photo photos photograph comic manga cartoon document screenshot scan drawing sketch illustration painting"
)
TEXT_BEARERS = _words("sign signs bubble bubbles speech label caption headline poster note page board screen")
FILLERS = KINDS | _words(
    # the picture itself
    "image picture pic img photo page scene frame file this that it its these here there content contents "
    "object objects thing things subject "
    # grammar
    "a an the or of in on at for to from with as is are was be do does has have can could would s i you we me us "
    # asking
    "what which how please describe description explain show shows shown showing see seen list name give "
    "tell caption analyze analyse identify extract find out know want like look looks depict depicts depicted "
    "contain contains present visible appear appears detect detected recognize recognise "
    # degree
    "all any every each most main dominant primary major principal predominant prevalent common used use "
    "exact overall full short brief briefly detail details detailed some something anything one top real just "
    "only also codes code names values"
)
"""Words that name nothing beyond the picture. Any other word (car, man, angry, LLaVA) makes a question about
something that facts cannot answer, and so do words of other languages."""

KNOWN = FILLERS.union(*TOPICS.values())

REWRITES = [
    (re.compile(r"\bin (?:\w+ ){0,3}(?:words?|sentences?|paragraphs?|lines?)\b"), " "),
    (re.compile(r"\bblack and white\b|\bb ?& ?w\b"), "monochrome"),
    (re.compile(r"\bhow many (?:mega)?pixels\b"), "resolution"),
]
"""Phrases in which a topic's word or an "and" means something else."""
PART_REWRITES = [
    (re.compile(r"^say\b"), " "),  # an order, not a question about words
    (re.compile(r"\b(says?|read|written) (?:about|on|in|regarding)\b.*"), r"\1"),  # all text answers it
]

SEPARATORS = re.compile(r"[.?!;,:\n]+|\b(?:and|plus|as well as)\b|&")
_ANY_KIND = rf"(?:{'|'.join(sorted(KINDS))})"
WHICH_ONE = re.compile(rf"\b(?:what|which) {_ANY_KIND}\b")
"""'Which manga is this?' asks for a title."""
IS_IT_A = re.compile(rf"^(?:is|are|was) (?:this|it|that)\b.* {_ANY_KIND}\b")


def understand(prompt: str) -> Question:
    """What the prompt asks; a part that is not understood makes it a question that facts cannot answer."""
    text = _rewrite(prompt.lower().replace("’", " ").replace("'", " "), REWRITES)
    topics: set[Fact] = set()
    for part in dict.fromkeys(SEPARATORS.split(text)):
        part_topics = _find_topics(_rewrite(part.strip(), PART_REWRITES))
        if part_topics is None:
            return Question(EVERYTHING, answerable=False)
        topics |= part_topics
    return Question(frozenset(topics) or EVERYTHING, answerable=True)


def _find_topics(part: str) -> set[Fact] | None:
    """The topic of a part of a prompt, if any; None where the part asks for more than a fact."""
    words = {word for word in re.findall(r"\w+", part) if not word.isdecimal()}
    topics = {fact for fact, topic_words in TOPICS.items() if topic_words & words}
    if IS_IT_A.search(part):
        topics.add(Fact.KIND)
    unknown = words - KNOWN
    if Fact.TEXT in topics:
        unknown -= TEXT_BEARERS
    if len(topics) > 1 or unknown or WHICH_ONE.search(part):
        return None
    return topics


def _rewrite(text: str, rewrites: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in rewrites:
        text = pattern.sub(replacement, text)
    return text
