import torch

from zsl.models import BilinearHead


def test_bilinear_head_is_its_formula() -> None:
    torch.manual_seed(0)
    head = BilinearHead(token_dim=5, query_dim=4).double()
    torch.nn.init.normal_(head.bias)
    tokens, queries = torch.randn(3, 6, 5).double(), torch.randn(7, 4).double()
    logits = head(tokens, queries)
    for image in range(3):
        mean = sum(tokens[image, t] for t in range(6)) / 6
        mapped = head.map.weight @ mean + head.map.bias
        for label in range(7):
            direction = queries[label] / (queries[label] ** 2).sum().sqrt()
            expected = (mapped * direction).sum() + head.bias[0]
            torch.testing.assert_close(logits[image, label], expected)
    as_map = tokens.mT.unflatten(2, (2, 3))  # (B, C, H, W)
    torch.testing.assert_close(head(as_map, queries), logits)
    torch.testing.assert_close(head(tokens, 3 * queries[2:4]), logits[:, 2:4])
