"""Plain facts about a picture as one English answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...models.tasks.naming import Label
from .colors import NamedColor
from .kind import PictureKind
from .prompts import Fact, Question

NO_MODEL = (
    "No vision-language model is loaded, so this question itself is not answered; these are facts about the picture."
)
LIKELY = 0.5
"""More probable than everything else together."""
POSSIBLE = 0.4
"""Below it, on ordinary photos that have nothing of the 1000 classes in them, names are mostly wrong."""
OTHER = 0.1
"""Other names below it are noise."""
MOST_OTHERS = 2
SMALLEST_SHARE = 0.01
"""Share of the picture; a smaller colour would read 0 %."""
SURE_TEXT = 0.6
"""The embedded reader's texts below this confidence are usually wrong."""
LONGEST_QUOTE = 600
"""Characters of text quoted in a description; whoever asks for the text gets all of it."""

KINDS_WITH_THINGS = frozenset({PictureKind.PHOTO})
"""The classifier has learned from photos: its names for drawn pages and documents are mostly nonsense."""
WITHOUT_ARTICLE = frozenset(
    {
        *("binoculars", "parallel bars", "sunglasses", "swimming trunks"),
        *("broccoli", "carbonara", "cauliflower", "chain mail", "chocolate sauce", "consomme", "corn", "dough"),
        *("eggnog", "espresso", "face powder", "guacamole", "hair spray", "hay", "ice cream", "lotion"),
        *("mashed potato", "meat loaf", "perfume", "rapeseed", "red wine", "sunscreen", "thatch"),
        *("toilet tissue", "velvet", "wool"),
    }
)
"""Those of the 1000 ImageNet names that are plurals or stuff."""
SPOKEN_WITH_CONSONANT = ("eu", "uni")
SPOKEN_WITH_VOWEL = ("a", "e", "i", "o", "u", "hour")


@dataclass(frozen=True)
class PictureFacts:
    """What is known of a picture; facts that the question does not ask for may be left empty."""

    width: int
    height: int
    kind: PictureKind | None = None
    labels: Sequence[Label] = ()
    colors: Sequence[NamedColor] = ()
    text: str = ""
    text_confidence: float | None = None


@dataclass(frozen=True)
class EmbeddedAnswer:
    analysis: str
    confidence: float | None
    """The classifier's, where the answer names a thing by it."""


def compose_answer(question: Question, facts: PictureFacts) -> EmbeddedAnswer:
    """The answer to a question, made of the facts that it asks for, which must be there."""
    in_full = question.facts == {Fact.TEXT}
    sentences = [
        _describe_kind_and_size(question.facts, facts),
        _name_things(facts) if Fact.THINGS in question.facts else "",
        _list_colors(facts, with_codes=question.facts == {Fact.COLORS}) if Fact.COLORS in question.facts else "",
        _quote_text(facts, None if in_full else LONGEST_QUOTE) if Fact.TEXT in question.facts else "",
    ]
    if not question.answerable:
        sentences.insert(0, NO_MODEL)
    claim = _find_claim(facts) if Fact.THINGS in question.facts else None
    return EmbeddedAnswer(" ".join(filter(None, sentences)), claim.confidence if claim else None)


def _describe_kind_and_size(asked: frozenset[Fact], facts: PictureFacts) -> str:
    size = f"{facts.width} × {facts.height} pixels"
    if {Fact.KIND, Fact.SIZE} <= asked:
        return f"{_add_article(str(facts.kind)).capitalize()}, {size}."
    if Fact.KIND in asked:
        return f"This looks like {_add_article(str(facts.kind))}."
    if Fact.SIZE in asked:
        return f"The picture is {facts.width} pixels wide and {facts.height} pixels high."
    return ""


def _find_claim(facts: PictureFacts) -> Label | None:
    """The name that the answer gives to what the picture shows, if there is one to give."""
    if not facts.labels or facts.kind not in KINDS_WITH_THINGS:
        return None
    best = facts.labels[0]
    return best if best.confidence >= POSSIBLE else None


def _name_things(facts: PictureFacts) -> str:
    claim = _find_claim(facts)
    if claim is None:
        unknown = "What it shows could not be named with confidence."
        return unknown if facts.kind in KINDS_WITH_THINGS else ""
    others = [label for label in facts.labels[1 : MOST_OTHERS + 1] if label.confidence >= OTHER]
    verb = "most likely shows" if claim.confidence >= LIKELY else "possibly shows"
    alternatives = f"; it could also be {_list_labels(others)}" if others else ""
    return f"It {verb} {_list_labels([claim])}{alternatives}."


def _list_labels(labels: Sequence[Label]) -> str:
    return _join([f"{_add_article(label.name)} ({_format_percent(label.confidence)})" for label in labels], "or")


def _list_colors(facts: PictureFacts, *, with_codes: bool) -> str:
    visible = [color for color in facts.colors if color.share >= SMALLEST_SHARE]
    names = [
        f"{color.name} ({f'{color.hex}, ' if with_codes else ''}{_format_percent(color.share)})" for color in visible
    ]
    return f"Its main {'color is' if len(visible) == 1 else 'colors are'} {_join(names, 'and')}."


def _quote_text(facts: PictureFacts, longest: int | None) -> str:
    quotable = _make_quotable(facts.text)
    if not quotable:
        return "No text was found in it."
    if _is_doubtful(facts):
        return f"No text was found in it{f', except perhaps “{quotable}”' if longest is None else ''}."
    ending = "."
    if longest is not None and len(quotable) > longest:
        ending = f" (the first {longest} of {len(quotable)} characters)."
        quotable = quotable[:longest] + "…"
    return f"The text in it reads: “{quotable}”{ending}"


def _is_doubtful(facts: PictureFacts) -> bool:
    """Whether the reader probably saw things as letters: it reads eyes and wheels as `0`, and tents as `A`."""
    varied = any(len({sign for sign in line if sign.isalnum()}) > 1 for line in facts.text.splitlines())
    return not varied or (facts.text_confidence is not None and facts.text_confidence < SURE_TEXT)


def _make_quotable(text: str) -> str:
    """Text from a picture as one line that cannot break out of a quotation: it is data, not our words."""
    for mark in '"“”„‟':
        text = text.replace(mark, "'")
    lines = (" ".join(line.split()) for line in text.splitlines())
    joined = " / ".join(filter(None, lines))
    return "".join(filter(str.isprintable, joined))


def _add_article(name: str) -> str:
    if name in WITHOUT_ARTICLE:
        return name
    spoken = name.lower()
    vowel = spoken.startswith(SPOKEN_WITH_VOWEL) and not spoken.startswith(SPOKEN_WITH_CONSONANT)
    return f"{'an' if vowel else 'a'} {name}"


def _join(parts: Sequence[str], conjunction: str) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f" {conjunction} ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _format_percent(share: float) -> str:
    return f"{round(100 * share)} %"
