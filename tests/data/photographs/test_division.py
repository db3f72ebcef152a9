"""Near-duplicates, stratified parts and roles."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zsl.data.photographs.labels import choose_roles, count_tags, plurals, spellings
from zsl.data.photographs.near_duplicates import duplicate_groups, look_at, near_pairs
from zsl.data.photographs.splitting import stratified_parts
from zsl.errors import InputError


def test_near_pairs_are_those_of_a_comparison_of_all() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, 300, dtype=np.uint64)
    flips = np.array(
        [sum(1 << int(bit) for bit in random.choice(64, n, replace=False)) for n in range(12)],
        np.uint64,
    )
    hashes = np.concatenate([hashes, hashes[:12] ^ flips, hashes[:3], np.zeros(2, np.uint64)])
    found = {pair for pairs in near_pairs(hashes) for pair in zip(*pairs.tolist(), strict=True)}
    values = hashes.tolist()
    expected = {
        (i, j)
        for j in range(len(values))
        for i in range(j)
        if (values[i] ^ values[j]).bit_count() <= 7
    }
    assert found == expected
    assert len(expected) >= 8 + 3 + 1
    assert list(near_pairs(hashes[:1])) == []


def test_copies_of_a_photograph_are_one_group(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    paths = []
    for number in range(4):
        pixels = random.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((320, 240), Image.Resampling.BICUBIC)
        paths.append(tmp_path / f"{number}.png")
        image.save(paths[-1])
        if number == 2:
            paths.append(tmp_path / "small.jpg")
            image.resize((160, 120)).save(paths[-1], quality=40)
            paths.append(tmp_path / "red.png")  # The same layout in another colour.
            Image.fromarray(np.asarray(image)[:, :, ::-1]).save(paths[-1])
    (tmp_path / "broken.jpg").write_bytes(paths[3].read_bytes()[:-200])
    looks = look_at([*paths, tmp_path / "broken.jpg"], 2)
    assert looks[0].size == (320, 240)
    assert [bool(look.problem) for look in looks] == [False] * 6 + [True]
    groups = duplicate_groups(looks[:6])
    assert groups[2] == groups[3]
    assert len(set(groups.tolist())) == 5
    assert duplicate_groups(looks[:1]).tolist() == [0]


def test_each_part_gets_its_share_of_every_label_and_groups_stay_together() -> None:
    random = np.random.default_rng(2)
    share_of = random.uniform(0.02, 0.5, 20)
    labels = [np.flatnonzero(random.random(20) < share_of).tolist() for _ in range(600)]
    groups = random.integers(0, 450, 600)
    parts = stratified_parts(labels, groups, (0.7, 0.15, 0.15), seed=3)
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups.tolist()))
    assert np.bincount(parts) / 600 == pytest.approx([0.7, 0.15, 0.15], abs=0.03)
    has = np.array([[label in own for label in range(20)] for own in labels])

    def deviation(parts: np.ndarray) -> float:
        counts = np.stack([has[parts == part].sum(axis=0) for part in range(3)])
        return float(np.abs(counts - np.outer([0.7, 0.15, 0.15], has.sum(axis=0))).mean())

    drawn = random.choice(3, 450, p=[0.7, 0.15, 0.15])[groups]
    assert deviation(parts) < deviation(drawn) / 2
    assert (parts == stratified_parts(labels, groups, (0.7, 0.15, 0.15), seed=3)).all()
    assert (parts != stratified_parts(labels, groups, (0.7, 0.15, 0.15), seed=4)).any()
    assert stratified_parts([[]], np.array([7]), (0.7, 0.3)).tolist() == [0]


def test_roles_are_named_or_drawn() -> None:
    labels = [f"label {number}" for number in range(20)]
    counts = dict.fromkeys(labels, 9)
    in_test = dict.fromkeys(labels[:10], 9)

    def choose(unseen: str, held_out: str) -> dict[str, list[str]]:
        roles = choose_roles(labels, unseen, held_out, counts, counts, in_test, seed=0)
        return {
            role: [n for n, own in roles.items() if own == role] for role in set(roles.values())
        }

    assert choose("", "0") == {"seen": labels}
    drawn = choose("0.2", "0.1")
    assert len(drawn["unseen"]) == 4
    assert set(drawn["unseen"]) <= set(in_test)
    assert len(drawn["held_out"]) == 2
    assert drawn == choose("0.2", "0.1")
    named = choose("label 3, label 19", "label 5")
    assert (named["unseen"], named["held_out"]) == (["label 3", "label 19"], ["label 5"])
    # Without unseen labels it is the held-out ones that the test is about.
    assert set(choose("", "0.5")["held_out"]) == set(labels[:10])
    for unseen, held_out, message in (
        ("lable 3", "0", "'lable 3' is not one of the 20 labels. Did you mean 'label"),
        ("1.5", "0", "--unseen is 1.5; expected names, or a share"),
        (",".join(labels[:19]), "0", "Of 20 labels 1 would be left to train"),
        ("label 3", "label 5, label 3", "--held_out: 'label 3' is unseen already; leave it out"),
    ):
        with pytest.raises(InputError, match=message):
            choose(unseen, held_out)


def test_tags_that_look_alike() -> None:
    counts = count_tags([["Dog", "dogs"], ["dog", "hot-dog"], ["dog", "Hot dog", "bus", "buses"]])
    assert list(counts.items())[:2] == [("dog", 2), ("Dog", 1)]
    assert spellings(counts) == [["dog", "Dog"], ["Hot dog", "hot-dog"]]
    assert plurals(counts) == [["dog", "dogs"], ["bus", "buses"]]
