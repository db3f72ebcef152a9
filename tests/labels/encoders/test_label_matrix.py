import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from zsl.errors import InputError
from zsl.labels import Concatenation, LabelMatrix, WordVectors, encoder_from_recipe

TAGS = ["nature", "sky", "water", "dog"]
CONCEPTS = ["sky", "whales"]
RANDOM = np.random.default_rng(0)
TAG_ROWS = RANDOM.normal(size=(4, 5)).astype(np.float32)
CONCEPT_ROWS = np.stack([TAG_ROWS[1], RANDOM.normal(size=5).astype(np.float32)])


@pytest.fixture
def lists(tmp_path: Path) -> list[str]:
    """Name lists as NUS-WIDE has them: with CRLF, some names in both."""
    paths = []
    for name, names in (("tags.txt", TAGS), ("concepts.txt", CONCEPTS)):
        (tmp_path / name).write_bytes("\r\n".join(names).encode() + b"\r\n")
        paths.append(str(tmp_path / name))
    return paths


def write(path: Path, kind: str) -> tuple[Path, list[int]]:
    """A file of the kind; returns it and which name lists it needs."""
    path = path / f"vectors.{kind.split('-')[0]}"
    if kind == "npz":
        np.savez(path, tags=TAG_ROWS, concepts=CONCEPT_ROWS)
        return path, [0, 1]
    if kind == "npz-names":
        np.savez(path, names=np.array(TAGS), vectors=TAG_ROWS)
        return path, []
    if kind == "safetensors":
        save_file({"vectors": TAG_ROWS}, path)
    if kind == "pth":  # As ML-Decoder's wordvec_array.pth: a label a column.
        torch.save(torch.from_numpy(TAG_ROWS.T.copy()), path)
    if kind == "pth-half":
        torch.save(torch.from_numpy(TAG_ROWS.T.copy()).half(), path)
    if kind == "pkl":
        path.write_bytes(pickle.dumps([TAG_ROWS, CONCEPT_ROWS]))
        return path, [0, 1]
    return path, [0]


@pytest.mark.parametrize("kind", ["npz", "npz-names", "safetensors", "pth", "pth-half", "pkl"])
def test_matrices_are_read_by_name(tmp_path: Path, lists: list[str], kind: str) -> None:
    path, needed = write(tmp_path, kind)
    encoder = LabelMatrix(str(path), [lists[number] for number in needed] or None)
    tolerance = 1e-3 if kind == "pth-half" else 0.0
    found = encoder.encode(["dog", "sky"])
    expected = torch.from_numpy(TAG_ROWS[[3, 1]])
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert encoder.origins(["dog"]) == ["row 4 of matrix 1"]
    if len(needed) == 2:
        assert torch.equal(encoder.encode(["whales"])[0], torch.from_numpy(CONCEPT_ROWS[1]))
    again = encoder_from_recipe(encoder.recipe)
    assert again.recipe == encoder.recipe
    assert torch.equal(again.encode(["water"]), encoder.encode(["water"]))


def test_the_published_pickle_of_an_old_python(tmp_path: Path, lists: list[str]) -> None:
    path = tmp_path / "glove.pkl"
    path.write_bytes(pickle.dumps([TAG_ROWS, CONCEPT_ROWS], protocol=2))
    found = LabelMatrix(str(path), lists).encode(["dog"])[0]
    assert torch.equal(found, torch.from_numpy(TAG_ROWS[3]))


class _RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", ["pkl", "pth", "npz"])
def test_a_file_that_runs_code_is_refused(tmp_path: Path, lists: list[str], suffix: str) -> None:
    path, trace = tmp_path / f"evil.{suffix}", tmp_path / "trace"
    if suffix == "pkl":
        path.write_bytes(pickle.dumps([_RunsCode(trace)]))
    elif suffix == "pth":
        torch.save([_RunsCode(trace)], path)
    else:
        np.savez(path, vectors=np.array([_RunsCode(trace)], dtype=object))
    with pytest.raises(InputError, match=r"evil\."):
        LabelMatrix(str(path), lists[0]).encode(["dog"])
    assert not trace.exists()


def test_mistakes_are_one_sentence(tmp_path: Path, lists: list[str]) -> None:
    path, _ = write(tmp_path, "npz")
    names = tmp_path / "names.txt"

    def fails(message: str, *arguments: Any, label: str = "dog") -> None:
        with pytest.raises(InputError, match=message) as caught:
            LabelMatrix(*arguments).encode([label])
        assert len(str(caught.value).splitlines()) == 1

    fails(r"none\.npz do not exist", str(tmp_path / "none.npz"), lists)
    fails("holds no array called names; set encoder.names", str(path))
    fails("holds 2 matrices, but there are 1 lists", str(path), lists[:1])
    fails(r"no vector for the label 'dogs' among its 5.*'dog'", str(path), lists, label="dogs")
    names.write_text("a\nb\nc\n")
    message = r"Matrix 1 of .*npz is float32 \(4, 5\), but .*names\.txt has 3 names"
    fails(message, str(path), [str(names), lists[1]])
    names.write_text("nature\nsky\nsky\ndog\n")
    message = (
        r"names\.txt, line 3: 'sky' is there twice with two vectors, first at row 2 of matrix 1"
    )
    fails(message, str(path), [str(names), lists[1]])
    names.write_text("nature\n\nwater\ndog\n")
    fails(r"names\.txt, line 2: the name is empty", str(path), [str(names), lists[1]])
    fails(r"none\.txt does not exist", str(path), [str(tmp_path / "none.txt")] * 2)
    for suffix in ("npz", "safetensors", "pth", "pkl"):
        broken = tmp_path / f"broken.{suffix}"
        for content in (b"PK broken", b"", b"text", b"]K\x01K\x02s."):
            broken.write_bytes(content)
            fails(rf"broken\.{suffix} can't be read as", str(broken), lists)
    torch.save({"a": torch.zeros(1)}, tmp_path / "dict.pth")
    fails("holds a dict; expected one tensor", str(tmp_path / "dict.pth"), lists)
    np.savez(tmp_path / "widths.npz", a=TAG_ROWS, b=CONCEPT_ROWS[:, :3])
    fails("have 5, 3 numbers a label", str(tmp_path / "widths.npz"), lists)
    np.savez(tmp_path / "square.npz", a=TAG_ROWS[:, :4])
    fails("is square, so its labels may be rows or", str(tmp_path / "square.npz"), lists[:1])
    (tmp_path / "vectors.txt").write_text("")
    fails(r"ends in '\.txt'; expected \.npz", str(tmp_path / "vectors.txt"), lists)
    zeros = TAG_ROWS.copy()
    zeros[3] = 0
    np.savez(tmp_path / "zeros.npz", names=np.array(TAGS), vectors=zeros)
    fails("nothing but zeros", str(tmp_path / "zeros.npz"))


def test_the_files_of_nuswide(shared: Path) -> None:
    folder = shared / "data" / "nuswide"
    lists = [str(folder / "TagList1k.txt"), str(folder / "Concepts81.txt")]
    encoder = LabelMatrix(str(folder / "glove_wiki_gigaword_300.npz"), lists, scale="unit_norm")
    names = sorted({name for path in lists for name in Path(path).read_text().split()})
    vectors = encoder.encode(names)
    assert vectors.shape == (1006, 300)
    cosines = vectors @ vectors[names.index("tiger")]
    assert [names[row] for row in cosines.topk(3).indices] >= ["tiger"]
    assert "lion" in [names[row] for row in cosines.topk(8).indices]


def test_two_encoders_side_by_side(tmp_path: Path, lists: list[str]) -> None:
    path, _ = write(tmp_path, "npz")
    glove = tmp_path / "glove.txt"
    glove.write_text("dog 1 2\nsky 3 4\nwater 0.5 0.5\n")
    first = LabelMatrix(str(path), lists, scale="unit_norm")
    second = WordVectors(str(glove), scale="unit_variance")
    encoder = Concatenation([first, second])
    names = ["sky", "dog"]
    found = encoder.encode(names)
    assert torch.equal(found, torch.cat([first.encode(names), second.encode(names)], dim=1))
    assert encoder.origins(["dog"]) == ["row 4 of matrix 1 | dog"]
    again = encoder_from_recipe(encoder.recipe)
    assert again.recipe == encoder.recipe
    assert torch.equal(again.encode(["water"]), encoder.encode(["water"]))
    glove.write_text("dog 1 2\nsky 3 4\nwater 0.5 0.6\nnature 1 1\n")
    with pytest.raises(InputError, match=r"glove\.txt' has changed"):
        encoder_from_recipe(encoder.recipe).encode(["nature"])
    with pytest.raises(InputError, match="needs two encoders or more"):
        Concatenation([first])
