"""Keeps entries of a model's weights constant while the others are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # integer types by their size in bytes


class Frozen:
    """Keeps entries of a model's parameters at their current values, bit for bit.

    Values are multiplied by 0 or 1 and added as integers, so that infinities, NaN and -0.0 are kept too, and a GPU
    processes all tensors at once.

    Args:
        model: on the device and in the memory layout that it is trained in.
        trainable_mask: the entries that may change: by parameter name, bool in the parameter's shape.
    """

    def __init__(self, model: nn.Module, trainable_mask: Mapping[str, Tensor]) -> None:
        self._parameters = dict(model.named_parameters())
        self._bits = [_bits(p.detach()) for p in self._parameters.values()]
        # in the layout of the parameter, which the kernels for many tensors require
        self._trainable_masks = [
            torch.empty_like(bits).copy_(trainable_mask[name])
            for name, bits in zip(self._parameters, self._bits, strict=True)
        ]
        self._frozen_bits = [bits * (1 - mask) for bits, mask in zip(self._bits, self._trainable_masks, strict=True)]

    def mask_gradients(self) -> None:
        """Set the gradient of frozen entries to 0."""
        self.mask([p.grad for p in self._parameters.values()])

    def mask(self, gradients: Sequence[Tensor | None]) -> None:
        """Set frozen entries of gradients to 0 in place; one for each parameter, in their order."""
        pairs = zip(gradients, self._trainable_masks, strict=True)
        masked = [(_bits(gradient), mask) for gradient, mask in pairs if gradient is not None]
        if masked:
            torch._foreach_mul_([bits for bits, _ in masked], [mask for _, mask in masked])

    def restore(self) -> None:
        """Set frozen entries back to their initial values."""
        torch._foreach_mul_(self._bits, self._trainable_masks)
        torch._foreach_add_(self._bits, self._frozen_bits)


def _bits(tensor: Tensor) -> Tensor:
    """View a float tensor as integers."""
    return tensor.view(INTEGERS[tensor.element_size()])
