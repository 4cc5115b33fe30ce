"""Entries of weights that may not move."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


class Frozen:
    """Holds entries of a model's parameters as they are now, bit for bit.

    Bits are multiplied by 0 or 1 and added as integers, so that infinities, NaN and -0.0 stay too, and a GPU does it
    for all tensors at once.

    Args:
        model: on the device it is trained on, its weights laid out as for training.
        trainable_mask: by parameter name, bool of the parameter's shape: the entries that may change.
    """

    def __init__(self, model: nn.Module, trainable_mask: Mapping[str, Tensor]) -> None:
        self._parameters = dict(model.named_parameters())
        self._bits = [_bits(p.detach()) for p in self._parameters.values()]
        # laid out as the parameter, or the kernels for many tensors would not take them
        self._trainable_masks = [
            torch.empty_like(bits).copy_(trainable_mask[name])
            for name, bits in zip(self._parameters, self._bits, strict=True)
        ]
        self._held = [bits * (1 - mask) for bits, mask in zip(self._bits, self._trainable_masks, strict=True)]

    def mask_gradients(self) -> None:
        """Set the gradient of what may not move to 0."""
        pairs = zip(self._parameters.values(), self._trainable_masks, strict=True)
        taken = [(_bits(p.grad), mask) for p, mask in pairs if p.grad is not None]
        if taken:
            torch._foreach_mul_([bits for bits, _ in taken], [mask for _, mask in taken])

    def restore(self) -> None:
        """Put back what may not move."""
        torch._foreach_mul_(self._bits, self._trainable_masks)
        torch._foreach_add_(self._bits, self._held)


def _bits(tensor: Tensor) -> Tensor:
    """A view as integers."""
    return tensor.view(INTEGERS[tensor.element_size()])
