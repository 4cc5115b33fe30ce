"""A checkpoint that somebody else wrote, as the weights of a net."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unlearn.core.errors import DataError, abbreviate
from unlearn.models.checkpoints.containers import damaged
from unlearn.models.checkpoints.content import expected
from unlearn.models.checkpoints.match import Match, find_match
from unlearn.models.checkpoints.state_dicts import read_state_dicts
from unlearn.models.checkpoints.tensors import StoredTensor

# Names of buffers that a net which normalises its own input has, by what they hold.
NORMALISATION = re.compile(
    r"(^|\.)((\w*(norm|preproc|transform|scal|standard)\w*)\.)?((pixel|image|img|input|data|norm)_)?(?P<moment>mean|std)$",
    re.IGNORECASE,
)
TOLERANCE = 0.002  # published means are rounded to three digits
GREY_LEVELS = 255.0

Normalisation = tuple[Sequence[float], Sequence[float]]


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


def read_weights(path: Path, net: nn.Module, normalisation: Normalisation | None, entry: str | None = None) -> Weights:
    """The weights of `net` from the file at `path`: safetensors, what `torch.save` wrote, or a pickle of arrays.

    The format is found by content, the state dict wherever it lies, its names under any prefix. Nothing in the file is
    run. Missing counters of batch normalisation are taken from the net.

    Args:
        path: a checkpoint that somebody else wrote.
        net: names, shapes and types are read; it may be on the meta device.
        normalisation: mean and standard deviation of the data set, per channel; buffers of the file that hold such
            must agree. None: they are not compared.
        entry: which state dict, where there are several that fit.

    Raises:
        DataError: the file is missing, damaged or of another kind, or its tensors are not the net's, not finite, or
            were trained with another normalisation.

    Example:
        >>> read_weights(Path("resnet18.pth.tar"), net, None).entry  # doctest: +SKIP
        'state_dict/module'
    """
    match = find_match(read_state_dicts(path), net, entry)
    wanted = net.state_dict()
    for name, tensor in match.tensors.items():  # in place: the net's dict also carries the versions that some nets need
        wanted[name] = _cast(name, _values(tensor, path), wanted[name], path)
    if normalisation is not None:
        _compare(match, normalisation, path)
    return Weights(wanted, match.label, tuple(match.surplus), match.others)


def _values(tensor: StoredTensor, path: Path) -> Tensor:
    try:
        return tensor.read().detach()
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise damaged(path, error) from error


def _cast(name: str, tensor: Tensor, like: Tensor, path: Path) -> Tensor:
    if not tensor.isfinite().all():
        raise expected("finite weights", path, f"others in {name}")
    same_kind = tensor.is_floating_point() == like.is_floating_point() and not tensor.is_complex()
    cast = tensor.to(like.dtype) if same_kind else tensor
    if not same_kind or not cast.isfinite().all():
        raise DataError(f"checkpoint: expected {name} as finite {like.dtype}, got {tensor.dtype} that is not")
    return cast.contiguous().to(like.device)


def _compare(match: Match, normalisation: Normalisation, path: Path) -> None:
    """Raise if the file holds another normalisation than the data set's.

    Raises:
        DataError: it does; the message gives both.
    """
    for ours, key in zip(normalisation, ("mean", "std"), strict=True):
        for name, tensor in match.surplus.items():
            found = NORMALISATION.search(name)
            size = torch.Size(tensor.shape).numel()
            if found is None or found["moment"].lower() != key or size not in (1, len(ours)):
                continue
            theirs = _values(tensor, path).double().flatten()
            theirs = theirs / GREY_LEVELS if theirs.max() > 1.5 else theirs  # of pixels from 0 to 255
            if not (theirs - torch.tensor([*ours], dtype=torch.float64)).abs().max() <= TOLERANCE:
                shown = ", ".join(f"{value:.4g}" for value in theirs.expand(len(ours)).tolist())
                raise DataError(f"dataset.{key}: expected [{shown}], as {name} in {path} says, got {[*ours]}")
