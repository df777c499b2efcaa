"""Kinds of pictures with the evidence of the real classifier: packaged photos and sixty drawn pages."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from fixtures.counts import THREADS, many
from fixtures.encoding import saved
from fixtures.packages import SCIKIT_IMAGE, SCIKIT_LEARN
from fixtures.scenes import draw_comic, draw_drawing
from fixtures.scenes_documents import draw_document
from llm_vision.models.base import Item, LoadContext
from llm_vision.models.families.classifier import EfficientNetLite0
from llm_vision.services.analysis.kind import PictureKind, recognize_kind

PHOTOS = """
astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png coins.png grass.png gravel.png
hubble_deep_field.jpg ihc.png microaneurysms.png moon.png motorcycle_left.png motorcycle_right.png retina.jpg
rocket.jpg china.jpg flower.jpg
"""
PACKAGED = {
    PictureKind.PHOTO: PHOTOS.split(),
    PictureKind.DOCUMENT: ["page.png", "text.png"],
    PictureKind.DRAWING: ["chessboard_RGB.png", "color.png", "horse.png", "logo.png", "phantom.png"],
}
PAGES = many(20, 8)
DRAWN: dict[PictureKind, Callable[[int], Image.Image]] = {
    PictureKind.COMIC: draw_comic,
    PictureKind.DOCUMENT: draw_document,
    PictureKind.DRAWING: draw_drawing,
}


class Request(Item):
    def __init__(self, picture: Image.Image) -> None:
        self.images = (np.asarray(picture),)
        self.params = {}

    @property
    def cancelled(self) -> bool:
        return False

    def send_token(self, text: str) -> None:
        raise AssertionError("a classifier sends no tokens")


@pytest.fixture(scope="module")
def kind_of() -> Callable[[Image.Image], PictureKind]:
    classifier = EfficientNetLite0()
    classifier.load(LoadContext(device="cpu", threads=THREADS))

    def judge(picture: Image.Image) -> PictureKind:
        (result,) = classifier.predict([Request(picture)])
        assert isinstance(result, dict)
        return recognize_kind(picture, labels={found["label"]: found["confidence"] for found in result["labels"]})

    return judge


def _on_white(picture: Image.Image) -> Image.Image:
    opaque = Image.new("RGBA", picture.size, "white")
    opaque.alpha_composite(picture.convert("RGBA"))
    return opaque.convert("RGB")


def _packaged() -> Iterator[tuple[str, PictureKind, Image.Image]]:
    for kind, names in PACKAGED.items():
        for name in names:
            folder = SCIKIT_LEARN if (SCIKIT_LEARN / name).exists() else SCIKIT_IMAGE
            yield name, kind, _on_white(Image.open(folder / name))


def _drawn() -> Iterator[tuple[str, PictureKind, Image.Image]]:
    for kind, draw in DRAWN.items():
        for seed in range(PAGES):
            yield f"{draw.__name__}({seed})", kind, draw(seed)


@pytest.fixture(scope="module")
def told(kind_of: Callable[[Image.Image], PictureKind]) -> list[tuple[str, PictureKind, PictureKind]]:
    """What each picture is called, its kind, and what it is told as."""
    return [(name, kind, kind_of(picture)) for name, kind, picture in [*_packaged(), *_drawn()]]


def test_nine_of_ten_pictures_are_told_right(told: list[tuple[str, PictureKind, PictureKind]]) -> None:
    wrong = [f"{name} is a {expected}, told as a {kind}" for name, expected, kind in told if kind is not expected]
    assert len(told) == 27 + 3 * PAGES
    assert len(told) - len(wrong) >= 0.9 * len(told), "\n".join(wrong)


def test_every_packaged_photo_is_told_as_a_photo(told: list[tuple[str, PictureKind, PictureKind]]) -> None:
    photos = {name: kind for name, expected, kind in told if expected is PictureKind.PHOTO}
    assert photos == dict.fromkeys(PHOTOS.split(), PictureKind.PHOTO)


@pytest.mark.parametrize("kind", DRAWN)
def test_small_and_compressed_pages_are_told_right(
    kind_of: Callable[[Image.Image], PictureKind], kind: PictureKind
) -> None:
    told = []
    for seed in range(many(8, 4)):
        page = DRAWN[kind](seed)
        smaller = page.resize((page.width * 2 // 3, page.height * 2 // 3), Image.Resampling.LANCZOS)
        told.append(kind_of(Image.open(io.BytesIO(saved(smaller, "JPEG", quality=60)))))
    assert told.count(kind) >= 7 / 8 * len(told), told
