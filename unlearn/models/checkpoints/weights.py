"""A checkpoint that somebody else wrote, as the weights of a net."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unlearn.core.errors import DataError, abbreviate
from unlearn.models.checkpoints.containers import read_content
from unlearn.models.checkpoints.content import expected
from unlearn.models.checkpoints.described import Normalisation, compare_classes, compare_normalisation, read_values
from unlearn.models.checkpoints.match import find_match
from unlearn.models.checkpoints.state_dicts import find_state_dicts


@dataclass(frozen=True)
class Weights:
    """What was read: `state` as `net.load_state_dict` takes it, and what is to be said of it."""

    state: dict[str, Tensor]
    entry: str  # where it lay in the file; "" for all of it
    surplus: tuple[str, ...]  # names of tensors that the net does not have
    others: tuple[str, ...]  # entries that could have been read instead

    def notes(self, file: str) -> Iterator[str]:
        """One sentence for each of these."""
        if self.others:
            also = ", ".join(other or "all of the file" for other in self.others)
            read = self.entry or "what lies at its top"
            yield f"{file} holds several models: {read} was read, not {also} (checkpoint.entry chooses)."
        if self.surplus:
            yield f"{file} also holds what this net does not have, which was left out: {abbreviate(self.surplus)}."


def read_weights(
    path: Path,
    net: nn.Module,
    normalisation: Normalisation | None,
    entry: str | None = None,
    class_names: Sequence[str] = (),
) -> Weights:
    """The weights of `net` from the file at `path`: safetensors, what `torch.save` wrote, or a pickle of arrays.

    The format is found by content, the state dict wherever it lies, its names under any prefix. Nothing in the file is
    run. Missing counters of batch normalisation are taken from the net.

    Args:
        path: a checkpoint that somebody else wrote.
        net: names, shapes and types are read; it may be on the meta device.
        normalisation: mean and standard deviation of the data set, per channel; what the file holds of such, in
            buffers or beside the state dict, must agree. None: they are not compared.
        entry: which state dict, where there are several that fit.
        class_names: of the data set; what the file holds of such must agree, in this order. Empty: not compared.

    Raises:
        DataError: the file is missing, damaged or of another kind, or its tensors are not the net's, not finite, or
            were trained with another normalisation or other classes.

    Example:
        >>> read_weights(Path("resnet18.pth.tar"), net, None).entry  # doctest: +SKIP
        'state_dict/module'
    """
    content = read_content(path)
    match = find_match(find_state_dicts(content, path), net, entry)
    wanted = net.state_dict()
    for name, tensor in match.tensors.items():  # in place: the net's dict also carries the versions that some nets need
        wanted[name] = _cast(name, read_values(tensor, path), wanted[name], path)
    if normalisation is not None:
        compare_normalisation(match, content, normalisation, path)
    compare_classes(match, content, class_names, path)
    return Weights(wanted, match.label, tuple(match.surplus), match.others)


def _cast(name: str, tensor: Tensor, like: Tensor, path: Path) -> Tensor:
    if not tensor.isfinite().all():
        raise expected("finite weights", path, f"others in {name}")
    exact = tensor.to(like.dtype) if tensor.is_floating_point() and not like.is_floating_point() else tensor
    if torch.equal(exact.to(tensor.dtype), tensor):  # num_batches_tracked, after a cast of all buffers
        tensor = exact
    same_kind = tensor.is_floating_point() == like.is_floating_point() and not tensor.is_complex()
    cast = tensor.to(like.dtype) if same_kind else tensor
    if not same_kind or not cast.isfinite().all():
        raise DataError(f"checkpoint: expected {name} as finite {like.dtype}, got {tensor.dtype} that is not")
    return cast.contiguous().to(like.device)
