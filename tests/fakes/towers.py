"""Tiny models of open_clip: their configs are registered when this is imported."""

import atexit
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from zsl.data import ImageConfig, ShapesDataModule, Split, shapes
from zsl.labels import Role

WIDTH = 16
_VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
_TIMM = {"image_size": 32, "timm_proj": None}
_SIGLIP = {"image_size": 32, "timm_model_name": "test_vit3", "timm_pool": "map"}
TOWERS: dict[str, dict[str, Any]] = {
    # CLIP and what is trained like it; with QuickGELU, OpenAI's own.
    "tiny-clip": _VIT,
    "tiny-clip-quickgelu": _VIT,
    # CLIPA: the mean of the patches.
    "tiny-mean": {**_VIT, "pool_type": "avg"},
    "tiny-coca": {**_VIT, "attentional_pool": True, "attn_pooler_heads": 2},
    # CLIP's ResNets, which want images of 32 px and their multiples.
    "tiny-rn": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    # SigLIP: attention pooling, no class token, no projection.
    "tiny-siglip": {**_SIGLIP, "timm_proj": "none"},
    # PE-Core: attention pooling, class token, projection.
    "tiny-pe": {**_TIMM, "timm_model_name": "test_vit", "timm_pool": "map"},
    # MobileCLIP-B: a class token, in timm.
    "tiny-mobile-b": {**_TIMM, "timm_model_name": "test_vit", "timm_pool": "token"},
    # MobileCLIP-S, ConvNeXt: convolutions, and the mean.
    "tiny-mobile-s": {**_TIMM, "timm_model_name": "test_resnet", "timm_pool": "avg"},
    "tiny-convnext": {"image_size": 32, "timm_model_name": "test_convnext", "timm_pool": ""},
}
_TEXT = {"context_length": 16, "width": 16, "heads": 2, "layers": 2}

_folder = TemporaryDirectory()
atexit.register(_folder.cleanup)
for _name, _vision in TOWERS.items():
    _width = 96 if _name == "tiny-siglip" else WIDTH
    _config: dict[str, Any] = {"embed_dim": _width, "vision_cfg": _vision, "text_cfg": dict(_TEXT)}
    if _name == "tiny-siglip":
        _config["text_cfg"] |= {"hf_tokenizer_name": "timm/tiny-siglip", "vocab_size": 40}
    if "timm_model_name" in _vision:
        _config["custom_text"] = True
    if _name.endswith("quickgelu"):
        _config["quick_gelu"] = True
    Path(_folder.name, f"{_name}.json").write_text(json.dumps(_config))
open_clip.add_model_config(_folder.name)


def make_pair(name: str, weights: Path | None = None, image_size: int | None = None) -> Any:
    """A model by open_clip alone; without weights they are random."""
    torch.manual_seed(0)
    path = None if weights is None else str(weights)
    return open_clip.create_model(name, path, force_image_size=image_size).eval()


def write_pair(path: Path, name: str = "tiny-clip") -> Path:
    """Saves the weights of a model with random ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(make_pair(name).state_dict(), path)
    return path


def train_pair(path: Path, name: str = "tiny-mobile-s", steps: int = 110) -> Path:
    """Saves the weights of a model that has learnt what a coloured shape is called.

    Of scenes with one shape each, whose labels are seen; as CLIP learns, but that all labels are
    compared with an image instead of those of its batch.
    """
    old, shapes.MAX_SHAPES = shapes.MAX_SHAPES, 1
    try:
        data = ShapesDataModule(500, images=ImageConfig(size=32), num_workers=0)
        dataset = data.dataset(Split.TRAIN, data.evaluation_transform)
        items = [dataset[index] for index in range(len(dataset))]
    finally:
        shapes.MAX_SHAPES = old
    images = torch.stack([item["image"] for item in items])
    labels = torch.stack([item["target"] for item in items]).int().argmax(dim=1)
    model = make_pair(name)
    model.text.token_embedding.requires_grad_(False)
    tokens = open_clip.get_tokenizer(name)(data.vocabulary.select(Role.SEEN))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.004)
    model.train()
    for step in range(steps):
        batch = torch.randint(0, len(images), (32,))
        loss = _loss(model, images[batch], labels[batch], tokens)
        optimizer.param_groups[0]["lr"] = 0.004 * (1 - step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(model.state_dict(), path)
    return path


def _loss(model: Any, images: Tensor, labels: Tensor, tokens: Tensor) -> Tensor:
    mean, std = (
        torch.tensor(model.visual.preprocess_cfg[k]).view(3, 1, 1) for k in ("mean", "std")
    )
    vectors = model.encode_image((images / 255 - mean) / std, normalize=True)
    cosines = vectors @ model.encode_text(tokens, normalize=True).T
    return F.cross_entropy(model.logit_scale.exp() * cosines, labels)
