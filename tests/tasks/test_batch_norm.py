import timm
import torch
from torch import nn

from zsl.tasks.batch_norm import SyncBatchNorms


def test_activations_of_timms_batch_norms_stay() -> None:
    model = timm.create_model("test_efficientnet").eval()
    names = model.state_dict().keys()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        logits = model(images)
        plugin = SyncBatchNorms()
        converted = plugin.apply(model)
        assert not any(isinstance(part, nn.BatchNorm2d) for part in converted.modules())
        assert converted.state_dict().keys() == names
        assert torch.equal(converted(images), logits)
        assert torch.equal(plugin.revert(converted)(images), logits)
