"""Losses for multi-label targets of which some may be unknown."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AsymmetricLoss(nn.Module):
    """Asymmetric loss: binary cross-entropy that plays easy negatives down.

    With `p = sigmoid(logit)` and `p_m = max(p - clip, 0)`, a target `y` costs

    `- y (1 - p)^γ₊ log(p) - (1 - y) p_m^γ₋ log(1 - p_m)`.

    The focusing weights count as constants in the gradient, as in the published training code
    of ML-Decoder. Costs are summed over labels and averaged over images.

    Ben-Baruch et al., "Asymmetric Loss For Multi-Label Classification", arXiv 2009.14119.

    Args:
        gamma_negative: Focusing γ₋ of absent labels.
        gamma_positive: Focusing γ₊ of present labels.
        clip: Probability below which an absent label costs nothing.
    """

    def __init__(
        self, gamma_negative: float = 4.0, gamma_positive: float = 0.0, clip: float = 0.05
    ) -> None:
        super().__init__()
        self.gamma_negative = gamma_negative
        self.gamma_positive = gamma_positive
        self.clip = clip

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the scalar loss.

        Args:
            logits: (B, L), any floating dtype; computed in float32.
            targets: (B, L): 1 present, 0 absent, between the two for a degree, negative for
                unknown, which is left out.
        """
        logits = logits.float()
        known = targets >= 0
        present = targets.clamp(min=0).float()
        probability = logits.sigmoid()
        shifted = (probability - self.clip).clamp(min=0)
        with torch.no_grad():
            weight_present = (1 - probability) ** self.gamma_positive
            weight_absent = shifted**self.gamma_negative
        loss = -(
            present * weight_present * F.logsigmoid(logits)
            + (1 - present) * weight_absent * (1 - shifted).clamp(min=1e-8).log()
        )
        return (loss * known).sum() / len(logits)
