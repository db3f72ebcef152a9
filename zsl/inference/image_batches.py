"""Images as batches for a network, read ahead while it works."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from zsl.errors import InputError
from zsl.files.images import decode_pixels, read_pixels, to_rgb, unreadable
from zsl.preprocessing import ImageTransform, Resizing, evaluation_transform

ImageLike = str | Path | Image.Image
"""The path of an image file, or an image of Pillow."""


class ImageBytes(NamedTuple):
    """The content of an image file."""

    content: bytes
    path: str
    """Where it comes from, for messages."""


_PILLOW = Lock()
"""Held while an image of Pillow is read: the same one may be given twice."""


class ImageBatch(NamedTuple):
    """The readable images of a batch, and what is wrong with the others."""

    indices: list[int]
    """Positions of the B readable images in the whole sequence."""
    images: Tensor
    """uint8 (B, 3, S, S)."""
    problems: list[InputError]
    """One for each unreadable image."""


def image_batches(
    images: Sequence[ImageLike | ImageBytes],
    image_size: int,
    batch_size: int,
    resizing: Resizing = Resizing(),
) -> Iterator[ImageBatch]:
    """Yields batches of images as evaluation sees them.

    Threads read one batch ahead; decoding and resizing release Python's lock.

    Args:
        images: Read batch by batch.
        image_size: Side S in pixels.
        batch_size: Images per batch, unreadable ones included.
        resizing: How they become squares.
    """
    transform = evaluation_transform(image_size, resizing)
    pool = ThreadPoolExecutor(2)
    ahead: deque[tuple[int, list[Future[Tensor | InputError]]]] = deque()
    try:
        for start in range(0, len(images), batch_size):
            chunk = images[start : start + batch_size]
            ahead.append((start, [pool.submit(_read, item, transform) for item in chunk]))
            if len(ahead) > 1:
                yield _collect(*ahead.popleft(), image_size)
        while ahead:
            yield _collect(*ahead.popleft(), image_size)
    finally:
        pool.shutdown(cancel_futures=True)


def _read(image: ImageLike | ImageBytes, transform: ImageTransform) -> Tensor | InputError:
    """Returns the image as uint8 (3, S, S), or what is wrong with it."""
    try:
        if isinstance(image, Image.Image):
            with _PILLOW:
                pixels = pil_to_tensor(to_rgb(image))
        elif isinstance(image, str | Path):
            array = read_pixels(Path(image), transform.min_side)
            pixels = torch.from_numpy(array).permute(2, 0, 1)
        elif isinstance(image, ImageBytes):
            array = decode_pixels(image.content, Path(image.path), transform.min_side)
            pixels = torch.from_numpy(array).permute(2, 0, 1)
        else:
            return InputError(
                f"An image is of type {type(image).__name__}; expected a path or an image of "
                "Pillow."
            )
        return transform(pixels)
    except InputError as error:
        return error
    except Exception as error:  # Damaged files fail in many ways; none may stop the others.
        return unreadable(Path(_name(image) or "given"), error)


def _name(image: ImageLike | ImageBytes) -> str | Path:
    if isinstance(image, ImageBytes):
        return image.path
    return getattr(image, "filename", "") if isinstance(image, Image.Image) else image


def _collect(start: int, futures: list[Future[Tensor | InputError]], image_size: int) -> ImageBatch:
    results = [future.result() for future in futures]
    read = {i: result for i, result in enumerate(results, start) if isinstance(result, Tensor)}
    problems = [result for result in results if isinstance(result, InputError)]
    empty = torch.empty(0, 3, image_size, image_size, dtype=torch.uint8)
    return ImageBatch(list(read), torch.stack(list(read.values())) if read else empty, problems)
