import pytest
import torch
import torch.nn.functional as F

from zsl.labels import neighbours
from zsl.labels.neighbours import nearest_seen


@pytest.mark.parametrize("at_once", [1, 20, 10**6])
def test_the_nearest_are_those_of_a_loop(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_COSINES_AT_ONCE", at_once)
    torch.manual_seed(0)
    vectors, names = torch.randn(9, 4), [f"label {number}" for number in range(9)]
    nearest, cosine = nearest_seen(names, vectors, num_seen=6)
    for label in range(9):
        others = [
            (float(F.cosine_similarity(vectors[label], vectors[seen], dim=0)), names[seen])
            for seen in range(6)
            if seen != label
        ]
        best = sorted(others, reverse=True)[:3]
        assert nearest[label] == ", ".join(f"{name} {value:.2f}" for value, name in best)
        assert cosine[label] == pytest.approx(best[0][0], abs=1e-6)


def test_a_single_seen_label_has_no_neighbour() -> None:
    nearest, cosine = nearest_seen(["a", "b"], torch.tensor([[1.0, 0.0], [3.0, 4.0]]), num_seen=1)
    assert nearest == ["", "a 0.60"]
    assert cosine == pytest.approx([-1.0, 0.6])
