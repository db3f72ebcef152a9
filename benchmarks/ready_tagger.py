r"""How good the ready tagger is, beside other ways to make one of the classes of ImageNet.

python benchmarks/ready_tagger.py coco=COCODataModule:FOLDER,year=2017 \
    daquar=TableDataModule:FOLDER ...

Prints for each set, of all its labels on at most `--images` images of the test split: mAP, and
F1@3 (of images with one label each F1@1), with the classes of ImageNet as they are, and without
those that have the name of a label, so that no label was ever trained. `ConSE` combines the vectors
of an image's ten best classes by their softmax (the classifier's biases left out); `ridge` is the
linear map from vectors to weights. The vectors are those of the ready tagger.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor
from torch.utils.data import DataLoader, Subset

import zsl.data
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.inference.ready import BACKBONE, READY
from zsl.inference.tagger import Tagger
from zsl.metrics import average_precision, precision_recall_f1_at_k
from zsl.models import OwnClassesConfig
from zsl.models.baselines import cosine
from zsl.models.own_classes import own_classes

NUM_COMBINED = 10
STRENGTH = 1.0
LEVELS = (2, 3, 4, 5)


class Classes(NamedTuple):
    """The classes of ImageNet that a tagger is made of."""

    vectors: Tensor
    """(K, W), of length 1."""
    weights: Tensor
    """(K, C)."""


def ready(x: Tensor, classes: Classes, queries: Tensor) -> Tensor:
    """Returns the ready tagger's scores (N, L) of mean tokens (N, C)."""
    head = OwnClassesConfig().make(x.shape[1], classes.vectors)
    head.set_weights(classes.weights)
    return head(x[:, None], queries)


def conse(x: Tensor, classes: Classes, queries: Tensor) -> Tensor:
    """Returns the cosines with the convex combination of the best classes' vectors."""
    top = (x @ classes.weights.T).softmax(dim=1).topk(NUM_COMBINED, dim=1)
    return cosine((top.values[:, :, None] * classes.vectors[top.indices]).sum(dim=1), queries)


def ridge(x: Tensor, classes: Classes, queries: Tensor) -> Tensor:
    """Returns the scores of the linear map; each label's weights have the length 1."""
    centred = classes.weights - classes.weights.mean(dim=0)
    gram = classes.vectors.T @ classes.vectors + STRENGTH * torch.eye(classes.vectors.shape[1])
    weights = queries @ torch.linalg.solve(gram, classes.vectors.T @ centred)
    return x @ F.normalize(weights, dim=1).T


WAYS = {"ready": ready, "ConSE": conse, "ridge": ridge}


def mean_tokens(tagger: Tagger, images: Any) -> tuple[Tensor, Tensor]:
    """Returns mean tokens (N, C) and targets (N, L) of a data set."""
    parts = []
    for batch in DataLoader(images, batch_size=32, collate_fn=lambda batch: batch):
        parts.append((tagger.tokens(batch["image"]).mean(dim=1), batch["target"]))
    x, targets = zip(*parts, strict=True)
    return torch.cat(x), torch.cat(targets)


def main() -> None:
    """Prints a line for each set, choice of classes, and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", metavar="NAME=CLASS:FOLDER[,ARGUMENT=VALUE]")
    parser.add_argument("--images", type=int, default=500)
    options = parser.parse_args()
    tagger = Tagger.from_pretrained(READY)
    found = own_classes(BACKBONE, tagger.image_size)
    assert found is not None
    assert tagger.encoder is not None
    everything = Classes(tagger.own_queries, found.weights)
    for argument in options.sets:
        name, _, source = argument.partition("=")
        kind, _, root = source.partition(":")
        root, *more = root.split(",")
        changes = {key: yaml.safe_load(value) for key, _, value in (m.partition("=") for m in more)}
        square = ImageConfig(size=tagger.image_size)
        data = getattr(zsl.data, kind)(root=root, images=square, **changes)
        images = data.dataset(Split.TEST, data.evaluation_transform)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        x, targets = mean_tokens(tagger, Subset(images, order[: options.images].tolist()))
        labels = data.vocabulary.names
        queries = F.normalize(tagger.encoder.encode(labels), dim=1)
        synonyms = [set(text.partition(":")[0].split(", ")) for text in found.descriptions]
        others = torch.tensor([not own & set(labels) for own in synonyms])
        k = 1 if bool((targets.sum(dim=1) == 1).all()) else 3
        is_there = (targets == 1).any(dim=0)
        chance = (targets == 1).double().mean(dim=0)[is_there].mean()
        print(f"{name}: {len(x)} images, {int(is_there.sum())} labels, chance {chance:.3f}")
        for classes in (everything, Classes(everything.vectors[others], found.weights[others])):
            figures = []
            for way, score in WAYS.items():
                scores = score(x, classes, queries)
                ap = average_precision(scores, targets)[is_there].mean()
                f1 = precision_recall_f1_at_k(scores, targets, k)[2]
                figures.append(f"{way} {ap:.3f} (F1@{k} {f1:.3f})")
            print(f"  {len(classes.vectors):,} classes: {', '.join(figures)}", flush=True)
            levels = ready(x, classes, queries)
            for level in LEVELS:
                yes = levels >= level
                share = (targets[yes] == 1).double().mean()
                print(
                    f"    ready, score {level} or more: {yes.sum(1).double().mean():.2f} labels "
                    f"an image, precision {share:.2f}"
                )


if __name__ == "__main__":
    main()
