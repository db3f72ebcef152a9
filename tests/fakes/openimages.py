"""A miniature OpenImages in the native layout of V6 and of V4's zero-shot split."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fakes.table import COLOURS

LABELS = {f"/m/0{number}b": name for number, name in enumerate(COLOURS)}
"""LabelNames of the colours; two more, below, are called alike."""
BATS = {"/m/0bat": "Bat", "/m/0bt9": "Bat"}
UNSEEN = ["/m/06b", "/m/07b"]
FOLDERS = {"train": "train", "val": "validation", "test": "test"}


class FakeOpenImages:
    """Draws images of two colours each, of which some were verified.

    Args:
        root: Where to write to.
        num_images: Images of the training, validation and test split.
    """

    def __init__(self, root: Path, num_images: tuple[int, int, int] = (24, 12, 16)) -> None:
        self.root = root
        random = np.random.default_rng(0)
        self.images: dict[str, list[str]] = {}
        self.verified: dict[str, dict[tuple[str, str], int]] = {}
        self.colours: dict[str, list[str]] = {}
        for split, count in zip(FOLDERS, num_images, strict=True):
            numbers = random.integers(2**64, size=count, dtype=np.uint64)
            self.images[split] = [f"{number:016x}" for number in sorted(numbers)]
            self.verified[split] = {}
            for image in self.images[split]:
                both = random.choice(list(COLOURS), 2, replace=False).tolist()
                self.colours[image] = both
                for label, name in LABELS.items():
                    # Present ones are mostly known, absent ones seldom.
                    if random.random() < (0.9 if name in both else 0.4):
                        self.verified[split][image, label] = int(name in both)
                self.verified[split][image, "/m/0bat"] = int(random.random() < 0.3)

    def write_v6(self) -> FakeOpenImages:
        """Writes the files of V6; the names of labels are there with a header."""
        self._write_images()
        (self.root / "oidv6-classes-trainable.txt").write_text("\n".join([*LABELS, *BATS]) + "\n")
        names = {**LABELS, **BATS, "/m/0rare": "Rare"}
        rows = ["LabelName,DisplayName", *(f'{label},"{name}"' for label, name in names.items())]
        (self.root / "oidv6-class-descriptions.csv").write_text("\n".join(rows) + "\n")
        for split, folder in FOLDERS.items():
            name = f"{'oidv6-' if split == 'train' else ''}{folder}"
            self._write_annotations(self.root / f"{name}-annotations-human-imagelabels.csv", split)
        return self

    def write_v4(self) -> FakeOpenImages:
        """Writes the files of V4, as the code of LESA and BiAM has them."""
        self._write_images()
        seen = [label for label in [*LABELS, *BATS] if label not in UNSEEN]
        (self.root / "classes-trainable.txt").write_text("\n".join(seen) + "\n")
        names = {**LABELS, **BATS, "/m/0rare": "Rare"}
        rows = [f"{label},{name}" for label, name in names.items()]
        (self.root / "class-descriptions.csv").write_text("\n".join(rows) + "\n")
        for split, folder in FOLDERS.items():
            path = self.root / folder / f"{folder}-annotations-human-imagelabels.csv"
            self._write_annotations(path, split)
        unseen = np.array([UNSEEN[1], "/m/0rare", UNSEEN[0]], dtype=object)
        (self.root / "unseen_labels.pkl").write_bytes(pickle.dumps(unseen, protocol=2))
        (self.root / "top_400_unseen.csv").write_bytes(b"\xef\xbb\xbf0\r\n2\r\n")
        return self

    def target(self, image: str, split: str, names: list[str]) -> list[int]:
        """What is known of an image, over labels by their names."""
        label_of = {name: label for label, name in LABELS.items()}
        labels = [label_of.get(name, name[-9:].strip("( )")) for name in names]
        return [self.verified[split].get((image, label), -1) for label in labels]

    def _write_annotations(self, path: Path, split: str) -> None:
        """Writes the rows in disorder: with the crowd's contradictions, and a label nobody uses."""
        rows = [
            f"{image},verification,{label},{found}"
            for (image, label), found in self.verified[split].items()
        ]
        contradicted = [*self.verified[split].items()][3::7]
        rows += [
            f"{image},crowdsource-verification,{label},{1 - found}"
            for (image, label), found in contradicted
        ]
        rows += [f"{image},verification,/m/0rare,1" for image in self.images[split][::2]]
        rows += [f"{'f' * 16},verification,/m/0rare,1", rows[0]]
        order = np.random.default_rng(1).permutation(len(rows))
        text = "\n".join(["ImageID,Source,LabelName,Confidence", *(rows[i] for i in order)])
        path.write_text(text + "\n")

    def _write_images(self) -> None:
        for split, folder in FOLDERS.items():
            (self.root / folder).mkdir(parents=True, exist_ok=True)
            for image in self.images[split]:
                left, right = self.colours[image]
                pixels = np.zeros((30, 40, 3), dtype=np.uint8)
                pixels[:, :20], pixels[:, 20:] = COLOURS[left], COLOURS[right]
                Image.fromarray(pixels).save(self.root / folder / f"{image}.jpg")
