"""Batch norms that take their statistics from the images of all devices."""

from __future__ import annotations

from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm
from timm.layers import convert_sync_batchnorm
from torch import nn


class SyncBatchNorms(TorchSyncBatchNorm):
    """What `trainer.sync_batchnorm` does, for timm's batch norms too.

    Many models of timm, EfficientNet among them, have batch norm and activation in one layer, of
    which torch's own conversion would leave the activation out.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Returns the model with its batch norms replaced; the names of its tensors stay."""
        converted: nn.Module = convert_sync_batchnorm(model)
        return converted

    def revert(self, model: nn.Module) -> nn.Module:
        """Returns the model as it is: in evaluation they are batch norms like others."""
        return model
