import torch

from tests.fakes.parts import tiny_backbone, tiny_head
from zsl.models import TaggerNetwork


def test_images_and_queries_to_logits() -> None:
    vectors = torch.randn(5, 12)
    network = TaggerNetwork.make(tiny_backbone(), tiny_head(), 64, vectors, num_seen=3).eval()
    images = torch.rand(2, 3, 64, 64)
    logits = network(images, vectors[1:])
    assert logits.shape == (2, 4)
    torch.testing.assert_close(logits, network.head(network.backbone(images), vectors[1:]))
    torch.testing.assert_close(network(images)[:, 1:], logits)
    assert torch.equal(network.state_dict()["label_vectors"], vectors)


def test_what_a_head_is_made_of_are_the_seen_labels() -> None:
    vectors = torch.randn(5, 12)
    network = TaggerNetwork.make(tiny_backbone(), tiny_head(num_groups=3), 64, vectors, num_seen=3)
    groups = network.get_buffer("head.group_queries")
    torch.testing.assert_close(groups.sum(0), vectors[:3].sum(0))
