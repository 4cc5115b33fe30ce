"""Reads the weights of a net from a checkpoint of another program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unlearn.core.errors import DataError, abbreviate
from unlearn.models.checkpoints.containers import read_content
from unlearn.models.checkpoints.content import unexpected
from unlearn.models.checkpoints.described import Normalisation, compare_classes, compare_normalisation, read_values
from unlearn.models.checkpoints.match import find_match
from unlearn.models.checkpoints.state_dicts import find_state_dicts


@dataclass(frozen=True)
class Weights:
    """The weights, as `net.load_state_dict` takes them, and notes on the file."""

    state: dict[str, Tensor]
    entry: str  # the location in the file; "" for the whole file
    surplus: tuple[str, ...]  # names of tensors that the net does not have
    others: tuple[str, ...]  # the other entries that match the net
    names: dict[str, tuple[str, str]]  # for each tensor of the net: its name and dtype in the state dict of the file

    def notes(self, file: str) -> Iterator[str]:
        """Yield a sentence on the other entries and one on surplus tensors."""
        if self.others:
            others = ", ".join(other or "all of the file" for other in self.others)
            entry = self.entry or "its top level"
            yield f"{file} holds several models: {entry} was read, not {others} (checkpoint.entry chooses)."
        if self.surplus:
            yield f"{file} also holds tensors that this net lacks, which were ignored: {abbreviate(self.surplus)}."


def read_weights(
    path: Path,
    net: nn.Module,
    normalisation: Normalisation | None,
    entry: str | None = None,
    class_names: Sequence[str] = (),
) -> Weights:
    """Read the weights of `net` from safetensors, a file of `torch.save`, or a pickle of arrays.

    The format is detected by content; the state dict may be anywhere in the file, its names may have any prefix. No
    code in the file is run. Missing counters of batch normalisation are taken from the net.

    Args:
        path: the checkpoint.
        net: names, shapes and types are read; it may be on the meta device.
        normalisation: mean and standard deviation of the data set, per channel; those in the file, in buffers or next
            to the state dict, must be equal. None: they are not compared.
        entry: which state dict, if several match.
        class_names: names of the classes of the data set; those in the file must be equal, in this order. Empty: they
            are not compared.

    Raises:
        DataError: the file is missing, damaged or of another format, or its tensors are those of another net, not
            finite, or were trained with another normalisation or other classes.

    Example:
        >>> read_weights(Path("resnet18.pth.tar"), net, None).entry  # doctest: +SKIP
        'state_dict/module'
    """
    content = read_content(path)
    match = find_match(find_state_dicts(content, path), net, entry)
    names_in_file = {id(tensor): name for name, tensor in match.state_dict.tensors.items()}
    state, names = net.state_dict(), dict[str, tuple[str, str]]()
    # In place, because the dict of the net also has version numbers, which some nets need.
    for name, tensor in match.tensors.items():
        values = read_values(tensor, path)
        names[name] = (names_in_file[id(tensor)], str(values.dtype).removeprefix("torch."))
        state[name] = _cast(name, values, state[name], path)
    if normalisation is not None:
        compare_normalisation(match, content, normalisation, path)
    compare_classes(match, content, class_names, path)
    return Weights(state, match.label, tuple(match.surplus), match.others, names)


def _cast(name: str, tensor: Tensor, like: Tensor, path: Path) -> Tensor:
    if not tensor.isfinite().all():
        raise unexpected("finite weights", path, f"others in {name}")
    exact = tensor.to(like.dtype) if tensor.is_floating_point() and not like.is_floating_point() else tensor
    if torch.equal(exact.to(tensor.dtype), tensor):  # num_batches_tracked, after a cast of all buffers
        tensor = exact
    same_kind = tensor.is_floating_point() == like.is_floating_point() and not tensor.is_complex()
    cast = tensor.to(like.dtype) if same_kind else tensor
    if not same_kind or not cast.isfinite().all():
        raise DataError(f"checkpoint: expected {name} as finite {like.dtype}, got {tensor.dtype} that is not")
    return cast.contiguous().to(like.device)
