"""The main colours of a picture, with names that people use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from math import hypot

import webcolors
from PIL import Image

from .cielab import Lab, difference, to_lab

SAMPLE_SIDE = 128
"""16 384 pixels at most: shares are right to about a per cent, and even 12 megapixels take milliseconds."""
CLUSTERS = 16
"""Finer than the answer, so that a small red thing does not vanish into a large brown one."""
HUELESS = 4.0
HUELESS_NAME = 0.5
"""Chroma in CIELAB: nobody sees a hue below the first; gray, silver and white are below the second."""

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class NamedColor:
    """A colour of a picture."""

    name: str
    """The nearest CSS colour, in words: `dark slate gray`."""
    hex: str
    """The colour itself, as `#rrggbb`, not the named one's."""
    share: float
    """Its part of the picture, 0 to 1."""


def find_main_colors(picture: Image.Image, count: int = 5) -> list[NamedColor]:
    """At most `count` colours of different names, largest first; their shares sum to 1.

    A colour beyond `count` counts towards the nearest one that is named. Transparency is ignored.
    """
    named: dict[str, NamedColor] = {}
    for rgb, share in _cluster_colors(picture):
        name = _find_nearest_name(rgb)
        known = named.get(name, NamedColor(name, webcolors.rgb_to_hex(rgb), 0.0))
        named[name] = replace(known, share=known.share + share)
    ranked = sorted(named.values(), key=lambda color: -color.share)
    main = ranked[:count]
    for small in ranked[count:]:
        nearest = min(range(count), key=lambda index: _hex_difference(main[index].hex, small.hex))
        main[nearest] = replace(main[nearest], share=main[nearest].share + small.share)
    return sorted(main, key=lambda color: -color.share)


def _cluster_colors(picture: Image.Image) -> list[tuple[Rgb, float]]:
    """The picture's colours in a few groups, each with its share, largest first."""
    sample = picture
    if max(picture.size) > SAMPLE_SIDE:
        scale = SAMPLE_SIDE / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        # Nearest takes real pixels; a mean of black lines and white paper would be a gray that nobody sees.
        sample = picture.resize(size, Image.Resampling.NEAREST)
    reduced = sample.convert("RGB").quantize(CLUSTERS, Image.Quantize.MEDIANCUT)
    palette = reduced.getpalette() or []
    pixels = reduced.width * reduced.height
    shares = {index: count / pixels for index, count in enumerate(reduced.histogram()) if count}
    colors = [
        ((palette[3 * index], palette[3 * index + 1], palette[3 * index + 2]), share) for index, share in shares.items()
    ]
    return sorted(colors, key=lambda color: -color[1])


def _find_nearest_name(rgb: Rgb) -> str:
    """A colour without hue gets a name without hue: #434343 is nearer to dark slate gray than to dim gray."""
    lab = to_lab(rgb)
    hueless = hypot(*lab[1:]) < HUELESS
    palette = {name: there for name, there in _palette().items() if not hueless or hypot(*there[1:]) < HUELESS_NAME}
    return min(palette, key=lambda name: difference(lab, palette[name]))


def _hex_difference(one: str, other: str) -> float:
    return difference(to_lab(webcolors.hex_to_rgb(one)), to_lab(webcolors.hex_to_rgb(other)))


@cache
def _palette() -> dict[str, Lab]:
    """Readable names of the CSS colours, each once (gray is also grey), with their place in CIELAB."""
    canonical = sorted({webcolors.hex_to_name(webcolors.name_to_hex(name)) for name in webcolors.names()})
    return {_split_css_name(name): to_lab(webcolors.name_to_rgb(name)) for name in canonical}


LAST_WORDS = ("almond", "blush", "chiffon", "cream", "drab", "lace", "rose", "silk", "smoke", "whip", "puff")
"""Last words of CSS names that are not CSS names themselves, as in `mint cream`."""


def _split_css_name(css_name: str) -> str:
    """`darkslategray` as `dark slate gray`: CSS names end in other CSS names, which end in others."""
    names = (*LAST_WORDS, *webcolors.names())
    endings = [name for name in names if css_name.endswith(name) and css_name != name]
    if not endings:
        return css_name
    last = max(endings, key=len)
    return f"{_split_css_name(css_name.removesuffix(last))} {_split_css_name(last)}"
