"""Finds installed Japanese typefaces, from PyPI and Debian packages."""

from __future__ import annotations

from pathlib import Path

from fixtures.japanese_crops import FONTS as FROM_PYPI

_DEBIAN = Path("/usr/share/fonts")
FROM_DEBIAN = {
    "fonts-ipafont-gothic": "opentype/ipafont-gothic/ipag.ttf",
    "fonts-ipafont-mincho": "opentype/ipafont-mincho/ipam.ttf",
    "fonts-noto-cjk": "opentype/noto/NotoSansCJK-Regular.ttc",
    "fonts-noto-cjk (bold)": "opentype/noto/NotoSansCJK-Bold.ttc",
    "fonts-noto-cjk (serif)": "opentype/noto/NotoSerifCJK-Regular.ttc",
    "fonts-noto-cjk (serif bold)": "opentype/noto/NotoSerifCJK-Bold.ttc",
    "fonts-takao-gothic": "truetype/takao-gothic/TakaoGothic.ttf",
    "fonts-takao-mincho": "truetype/takao-mincho/TakaoMincho.ttf",
    "fonts-vlgothic": "truetype/vlgothic/VL-Gothic-Regular.ttf",
}
"""Package and file; `apt-get install fonts-ipafont fonts-noto-cjk fonts-takao fonts-vlgothic` installs all."""


def installed() -> dict[str, Path]:
    """Name and file of every installed typeface."""
    debian = {name: _DEBIAN / file for name, file in FROM_DEBIAN.items() if (_DEBIAN / file).exists()}
    return {**{font.stem: font for font in FROM_PYPI}, **debian}
