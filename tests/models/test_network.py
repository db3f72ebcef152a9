import torch

from zsl.models import Backbone, TaggerNetwork, WordMLDecoder


def test_images_and_queries_to_logits() -> None:
    backbone = Backbone("test_resnet", None, 16, 64)
    decoder = WordMLDecoder(backbone.token_dim, 12, embed_dim=16, feedforward_dim=16)
    tagger = TaggerNetwork(backbone, decoder).eval()
    images, queries = torch.rand(2, 3, 64, 64), torch.randn(5, 12)
    logits = tagger(images, queries)
    assert logits.shape == (2, 5)
    torch.testing.assert_close(logits, decoder(backbone(images), queries))
