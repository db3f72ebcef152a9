import torch

from zsl.models import span_of


def test_a_span_has_the_rank_of_its_vectors() -> None:
    vectors = torch.randn(5, 9)
    span = span_of(torch.cat([vectors, vectors[:2] + vectors[2:4]]))
    assert span.shape == (9, 5)
    torch.testing.assert_close(span.T @ span, torch.eye(5))
    torch.testing.assert_close(vectors @ span @ span.T, vectors)
    assert span_of(torch.randn(20, 9)).shape == (9, 9)
