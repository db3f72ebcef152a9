"""Images a second from JPEG files to training batches of 224 px, beside a plain pipeline.

python benchmarks/data_loading.py

The plain pipeline is what most published code does: Pillow decodes the whole image, torchvision
resizes it, Cutout and RandAugment vary it, ToTensor makes floats of it, the loader collates them.
Ours is the data module's, from the same files and from the copies of `zsl.prepare --resize 256`.

The images are noise with the spectrum of photographs, at the 0.2 to 0.3 bytes a pixel that
photographs have at this quality. Rounds of both pipelines alternate; the best of each counts.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from zsl.data.datamodule import MultiLabelDataModule
from zsl.data.dataset import ImageFileDataset
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.files.images import check_image
from zsl.preprocessing import ImageTransform

SIZE = 224
BATCH = 56
NUM_FILES = 64


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Coloured noise whose amplitude falls with the frequency, as in photographs."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    amplitude = np.maximum(frequency, 1 / max(width, height)) ** -1.4

    def noise() -> np.ndarray:
        spectrum = np.fft.fft2(generator.normal(size=(height, width))) * amplitude
        return np.fft.ifft2(spectrum).real

    grey = noise()
    channels = [grey + 0.3 * noise() for _ in range(3)]
    scaled = [(channel - channel.mean()) / channel.std() * 55 + 120 for channel in channels]
    return Image.fromarray(np.stack(scaled, axis=-1).clip(0, 255).astype(np.uint8))


class PlainCutout:
    """Cutout on a Pillow image, as the published training code has it."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Paints a rectangle of half the image's sides."""
        width, height = image.size
        x, y = np.random.randint(width), np.random.randint(height)
        corners = np.clip(
            [x - width // 4, y - height // 4, x + width // 4, y + height // 4], 0, SIZE
        )
        colour = tuple(random.randint(0, 255) for _ in range(3))
        ImageDraw.Draw(image).rectangle([int(value) for value in corners], fill=colour)
        return image


class PlainDataset(Dataset[torch.Tensor]):
    """The plain pipeline."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.Resize((SIZE, SIZE)),
                PlainCutout(),
                transforms.RandAugment(),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Returns float (3, 224, 224)."""
        return self.transform(Image.open(self.files[index]).convert("RGB"))


class OurDataset(ImageFileDataset):
    """The product's pipeline on a list of files."""

    def __init__(self, files: list[Path], transform: ImageTransform) -> None:
        super().__init__(transform)
        self.files = files

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.files[index]

    def target(self, index: int) -> torch.Tensor:
        """As many targets as NUS-WIDE has labels."""
        return torch.zeros(1006, dtype=torch.int8)


class OurDataModule(MultiLabelDataModule):
    """The product's loaders, with the augmentation of nuswide.yaml."""

    def __init__(self, files: list[Path], num_workers: int) -> None:
        super().__init__(ImageConfig(SIZE, cutout=0.5, rand_augment=True), BATCH, num_workers)
        self.files = files

    def dataset(self, split: Split, transform: ImageTransform) -> OurDataset:
        """All files."""
        return OurDataset(self.files, transform)

    @property
    def fingerprint(self) -> str:
        """Of no use here."""
        return ""


def images_per_second(loader: DataLoader) -> float:
    """Speed after the first batch, when all processes run."""
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    count = sum(BATCH for _ in batches)
    return count / (time.perf_counter() - start)


def plain_loader(files: list[Path], num_workers: int) -> DataLoader:
    """The plain pipeline's loader."""
    dataset = PlainDataset(files)
    return DataLoader(dataset, BATCH, shuffle=True, num_workers=num_workers, drop_last=True)


def our_loader(files: list[Path], num_workers: int) -> DataLoader:
    """The product's loader."""
    data = OurDataModule(files, num_workers)
    data.setup("fit")
    return data.train_dataloader()


def main() -> None:
    """Prints images a second and ratios for two sizes of originals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--num_images", type=int, default=16 * BATCH)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for width, height in ((500, 375), (1024, 768)):
            originals, copies = [], []
            for number in range(NUM_FILES):
                original = Path(folder) / f"{width}" / f"{number}.jpg"
                original.parent.mkdir(exist_ok=True)
                photograph(width, height, number).save(original, quality=85)
                copy = Path(folder) / f"{width}-256" / f"{number}.jpg"
                check_image(original, copy, 256)
                originals.append(original)
                copies.append(copy)
            repeats = -(-options.num_images // NUM_FILES)
            kinds = {
                "plain, originals": (plain_loader, originals * repeats),
                "ours, originals": (our_loader, originals * repeats),
                "ours, copies of 256 px": (our_loader, copies * repeats),
            }
            best = dict.fromkeys(kinds, 0.0)
            for _ in range(options.rounds):
                for kind, (make, files) in kinds.items():
                    speed = images_per_second(make(files, options.num_workers))
                    best[kind] = max(best[kind], speed)
            size = sum(path.stat().st_size for path in originals) / NUM_FILES / 1000
            print(f"{width} x {height}, {size:.0f} kB a file, {options.num_workers} processes")
            for kind, speed in best.items():
                ratio = speed / best["plain, originals"]
                print(f"  {kind:<24}{speed:7.0f} images/s {ratio:6.2f} x", flush=True)


if __name__ == "__main__":
    main()
