"""Groups of labels: their queries, and the dot product of each label with its group's output.

Group decoding (Ridnik et al., arXiv 2111.12933) lets one query stand for many classes. With
words, a label belongs to the group whose query is nearest to its vector, so that labels never seen
in training have a group too, whichever others are queried with them.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zsl.errors import InputError, require

_BLOCK = 32
_MOST_CLUSTERED = 20_000
_CLUSTERED_PER_GROUP = 50


def group_labels(vectors: Tensor, num_groups: int, seed: int = 0) -> Tensor:
    """Clusters label vectors by direction (k-means); returns the centres (num_groups, W).

    A centre is the mean of the vectors in its cluster, at their own scale. Of more than 20,000
    labels, and 50 for each group, a sample of so many is clustered, and the others join the nearest
    cluster.

    Args:
        vectors: (L, W) vectors of the labels that are trained.
        num_groups: Number K of groups, at most the number of different directions.
        seed: Seed of the clustering; the same one gives the same groups.

    Raises:
        InputError: There are fewer different vectors than groups, or one is not finite.
    """
    from sklearn.cluster import KMeans  # Slow to import.
    from sklearn.exceptions import ConvergenceWarning

    vectors = vectors.detach().float()
    require(
        vectors.ndim == 2,
        f"The label vectors have the shape {tuple(vectors.shape)}; expected two dimensions.",
    )
    if not torch.isfinite(vectors).all():
        row = int((~torch.isfinite(vectors)).any(1).nonzero()[0])
        raise InputError(f"The label vector {row} is not finite; groups need numbers.")
    _check_number(num_groups, len(vectors), "labels")
    directions = F.normalize(vectors, dim=1).cpu().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # Too few clusters are refused below.
        clusters = KMeans(num_groups, n_init=4, random_state=seed)
        most = max(_MOST_CLUSTERED, _CLUSTERED_PER_GROUP * num_groups)
        if len(directions) > most:
            drawn = np.random.default_rng(seed).choice(len(directions), most, replace=False)
            labels = clusters.fit(directions[drawn]).predict(directions)
        else:
            labels = clusters.fit(directions).labels_
    groups = torch.from_numpy(labels).long().to(vectors.device)
    _check_number(num_groups, len(groups.unique()), "different label vectors")
    return torch.stack([vectors[groups == group].mean(0) for group in range(num_groups)])


def _check_number(num_groups: int, most: int, of_what: str) -> None:
    if not 1 <= num_groups <= most:
        raise InputError(
            f"{num_groups} groups can't be made of {most} {of_what}; choose from 1 to {most}."
        )


def nearest_group(vectors: Tensor, group_queries: Tensor) -> Tensor:
    """Returns the group (L,) of each label: the query (K, W) nearest in direction to its vector."""
    return (vectors.float() @ F.normalize(group_queries.float(), dim=1).T).argmax(1)


def check_group_queries(group_queries: Tensor) -> None:
    """Refuses queries among which the nearest is not defined.

    Raises:
        InputError: They are not a matrix, one is not finite or zero, or two have one direction.
    """
    if group_queries.ndim != 2 or not len(group_queries):
        raise InputError(
            f"The group queries have the shape {tuple(group_queries.shape)}; "
            "expected (groups, width of the label vectors)."
        )
    lengths = group_queries.detach().float().norm(dim=1)
    for row in (~torch.isfinite(lengths) | (lengths == 0)).nonzero().flatten().tolist():
        raise InputError(f"The group query {row} is zero or not finite; it has no direction.")
    directions = F.normalize(group_queries.detach().float(), dim=1)
    cosines = (directions @ directions.T).fill_diagonal_(0)
    if cosines.max() > 1 - 1e-6:
        row, column = divmod(int(cosines.argmax()), len(cosines))
        raise InputError(
            f"The group queries {column} and {row} have the same direction, so that no label is "
            "nearer to one of them; leave one out."
        )


class GroupedVectors(NamedTuple):
    """The vectors of L labels in N blocks of one group each, filled up with zeros.

    Blocks make one batched product of all groups, whatever their sizes, with less than one block
    of zeros a group: at 16 images and 9,605 labels several times as fast as a product for each
    label. N depends on L and K alone, so nothing waits for the device and graphs can hold it.
    """

    vectors: Tensor
    """(N, labels in a block, W)."""
    block_groups: Tensor
    """(N,): the group of each block."""
    positions: Tensor
    """(L,): where each label stands in the blocks, one after the other."""
    groups: Tensor
    """(L,): the group of each label."""

    @classmethod
    def arrange(cls, vectors: Tensor, groups: Tensor, num_groups: int) -> GroupedVectors:
        """Sorts label vectors (L, W) by their groups (L,), one of `num_groups` each."""
        is_member = groups == torch.arange(num_groups, device=groups.device)[:, None]
        rank = is_member.cumsum(1).gather(0, groups[None])[0] - 1
        num_blocks = (is_member.sum(1) + _BLOCK - 1) // _BLOCK
        first_block = num_blocks.cumsum(0) - num_blocks
        block, row = first_block[groups] + rank // _BLOCK, rank % _BLOCK

        most_blocks = num_groups + groups.shape[0] // _BLOCK  # In graphs, `len` is a constant.
        blocks = vectors.new_zeros(most_blocks, _BLOCK, vectors.shape[1])
        return cls(
            blocks.index_put((block, row), vectors),
            groups.new_zeros(most_blocks).index_put((block,), groups),
            block * _BLOCK + row,
            groups,
        )

    def dot(self, outputs: Tensor) -> Tensor:
        """Multiplies each label's vector with the output (B, K, W) of its group: (B, L)."""
        products = torch.einsum("bnw,nlw->bnl", outputs[:, self.block_groups], self.vectors)
        return products.flatten(1)[:, self.positions]
