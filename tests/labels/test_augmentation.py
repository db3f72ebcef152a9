import torch

from zsl.labels import QueryAugmentation


def test_noise_has_the_stated_scale() -> None:
    torch.manual_seed(0)
    queries = 7 + 3 * torch.randn(200, 300)
    targets = torch.zeros(2, 200, dtype=torch.int8)
    noisy, same_targets = QueryAugmentation(noise=0.3).train()(queries, targets)
    noise = noisy - queries
    torch.testing.assert_close(noise.std(), torch.tensor(0.9), rtol=0.02, atol=0)
    torch.testing.assert_close(noise.mean(), torch.tensor(0.0), rtol=0, atol=0.02)
    assert torch.equal(same_targets, targets)


def test_strength_zero_and_evaluation_change_nothing() -> None:
    queries, targets = torch.randn(4, 3), torch.zeros(2, 4, dtype=torch.int8)
    assert torch.equal(QueryAugmentation(noise=0.0).train()(queries, targets)[0], queries)
    assert torch.equal(QueryAugmentation(noise=0.5).eval()(queries, targets)[0], queries)
