"""The real classifier: its names, its batches, its refusal of weights that are not its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.packages import SCIKIT_IMAGE, SCIKIT_LEARN
from llm_vision.models.base import Item, JsonObject, LoadContext
from llm_vision.models.families.classifier import EfficientNetLite0


class Request(Item):
    def __init__(self, picture: Image.Image) -> None:
        pixels = np.asarray(picture.convert("RGB"))
        self.images = (pixels,)
        self.params = {}

    @property
    def cancelled(self) -> bool:
        return False

    def send_token(self, text: str) -> None:
        raise AssertionError("a classifier sends no tokens")


@pytest.fixture(scope="module")
def classifier() -> EfficientNetLite0:
    model = EfficientNetLite0()
    model.load(LoadContext(device="cpu", threads=1))
    return model


def labels(classifier: EfficientNetLite0, picture: Image.Image) -> list[dict[str, Any]]:
    (result,) = classifier.predict([Request(picture)])
    assert isinstance(result, dict)
    return result["labels"]


def photo(name: str) -> Image.Image:
    folder = SCIKIT_LEARN if (SCIKIT_LEARN / name).exists() else SCIKIT_IMAGE
    return Image.open(folder / name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("coffee.png", "espresso"),
        ("chelsea.png", "Egyptian cat"),
        ("camera.png", "tripod"),
        ("motorcycle_left.png", "moped"),
        ("china.jpg", "palace"),
        ("flower.jpg", "daisy"),
    ],
)
def test_names_the_main_thing_of_a_photo(classifier: EfficientNetLite0, name: str, expected: str) -> None:
    assert labels(classifier, photo(name))[0]["label"] == expected


def test_gives_five_names_with_falling_confidence_of_at_most_one_in_all(classifier: EfficientNetLite0) -> None:
    confidences = [found["confidence"] for found in labels(classifier, photo("chelsea.png"))]
    assert len(confidences) == 5
    assert confidences == sorted(confidences, reverse=True)
    assert 0.5 < confidences[0] < sum(confidences) <= 1


def test_is_sure_of_an_espresso(classifier: EfficientNetLite0) -> None:
    assert labels(classifier, photo("coffee.png"))[0]["confidence"] > 0.85


def test_batch_gives_every_request_what_it_would_get_alone(classifier: EfficientNetLite0) -> None:
    names = ["coffee.png", "chelsea.png", "china.jpg", "camera.png", "flower.jpg", "rocket.jpg", "page.png", "moon.png"]
    assert len(names) == EfficientNetLite0.spec.max_batch
    together = classifier.predict([Request(photo(name)) for name in names])
    for name, result in zip(names, together, strict=True):
        assert isinstance(result, dict)
        alone = labels(classifier, photo(name))
        assert [found["label"] for found in result["labels"]] == [found["label"] for found in alone], name
        assert [found["confidence"] for found in result["labels"]] == pytest.approx(
            [found["confidence"] for found in alone], abs=1e-3
        ), name


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000), (4000, 3000)])
def test_any_shape_of_picture_is_classified(classifier: EfficientNetLite0, size: tuple[int, int]) -> None:
    assert len(labels(classifier, Image.new("RGB", size, "teal"))) == 5


def test_picture_in_a_corner_of_a_long_strip_is_seen_too(classifier: EfficientNetLite0) -> None:
    strip = Image.new("RGB", (1000, 400), "white")
    strip.paste(photo("coffee.png"), (0, 0))
    assert "espresso" in [found["label"] for found in labels(classifier, strip)]


def test_names_are_wordnets_first_and_one_for_each_output(classifier: EfficientNetLite0) -> None:
    from llm_vision.models.families.classifier import _class_names

    names = _class_names()
    assert len(names) == 1000
    assert (names[0], names[285], names[967], names[999]) == ("tench", "Egyptian cat", "espresso", "toilet tissue")


@pytest.mark.parametrize("fault", ["missing", "unexpected"])
def test_weights_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    import torch

    load = torch.load

    def damaged(*args: Any, **options: Any) -> JsonObject:
        assert options["weights_only"] is True
        weights: JsonObject = load(*args, **options)
        if fault == "missing":
            weights.pop("_fc.bias")
        else:
            weights["_fc.extra"] = torch.zeros(1)
        return weights

    monkeypatch.setattr(torch, "load", damaged)
    with pytest.raises(RuntimeError, match=fault.capitalize()):
        EfficientNetLite0().load(LoadContext(device="cpu", threads=1))
