"""Pictures as batches for a network, read ahead while it works."""

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
from zsl.files.images import read_pixels, to_rgb, unreadable
from zsl.preprocessing import ImageTransform, evaluation_transform

Picture = str | Path | Image.Image
"""A file, or what Pillow makes of one."""


_PILLOW = Lock()
"""Held while an image of Pillow is read: the same one may be given twice."""


class ImageBatch(NamedTuple):
    """The pictures of a batch that can be read, and what is wrong with the others."""

    places: list[int]
    """Of B pictures, where they stand in the sequence."""
    images: Tensor
    """uint8 (B, 3, S, S)."""
    problems: list[InputError]
    """One for each picture that can't be read."""


def image_batches(
    pictures: Sequence[Picture], image_size: int, batch_size: int
) -> Iterator[ImageBatch]:
    """Yields batches of pictures as evaluation sees them, squashed to squares.

    Threads read one batch ahead; decoders and resizing leave Python to others.

    Args:
        pictures: Read when their turn comes.
        image_size: Side S in pixels.
        batch_size: Pictures a batch, those that can't be read included.
    """
    transform = evaluation_transform(image_size)
    pool = ThreadPoolExecutor(2)
    ahead: deque[tuple[int, list[Future[Tensor | InputError]]]] = deque()
    try:
        for start in range(0, len(pictures), batch_size):
            chunk = pictures[start : start + batch_size]
            ahead.append((start, [pool.submit(_read, item, transform) for item in chunk]))
            if len(ahead) > 1:
                yield _collect(*ahead.popleft(), image_size)
        while ahead:
            yield _collect(*ahead.popleft(), image_size)
    finally:
        pool.shutdown(cancel_futures=True)


def _read(picture: Picture, transform: ImageTransform) -> Tensor | InputError:
    """The picture as uint8 (3, S, S), or what is wrong with it."""
    try:
        if isinstance(picture, Image.Image):
            with _PILLOW:
                pixels = pil_to_tensor(to_rgb(picture))
        elif isinstance(picture, str | Path):
            array = read_pixels(Path(picture), transform.min_side)
            pixels = torch.from_numpy(array).permute(2, 0, 1)
        else:
            return InputError(
                f"An image is a {type(picture).__name__}; expected a path, or an image of Pillow."
            )
        return transform(pixels)
    except InputError as error:
        return error
    except Exception as error:  # Damaged files fail in many ways; none may stop the others.
        name = getattr(picture, "filename", "") if isinstance(picture, Image.Image) else picture
        return unreadable(Path(name or "given"), error)


def _collect(start: int, futures: list[Future[Tensor | InputError]], image_size: int) -> ImageBatch:
    places: list[int] = []
    images: list[Tensor] = []
    problems: list[InputError] = []
    for place, future in enumerate(futures, start):
        result = future.result()
        if isinstance(result, InputError):
            problems.append(result)
        else:
            places.append(place)
            images.append(result)
    empty = torch.empty(0, 3, image_size, image_size, dtype=torch.uint8)
    return ImageBatch(places, torch.stack(images) if images else empty, problems)
