"""What a checkpoint says of its data beside its weights: normalisation, and classes in their order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from unlearn.core.errors import DataError, as_one_line
from unlearn.models.checkpoints.containers import Content, damaged
from unlearn.models.checkpoints.content import CONVERT
from unlearn.models.checkpoints.match import LONGEST, LYING_BESIDE, Match
from unlearn.models.checkpoints.state_dicts import list_items
from unlearn.models.checkpoints.tensors import StoredTensor, as_stored_tensor
from unlearn.models.checkpoints.unpickle import Instance

# Names of buffers that a net which normalises its own input has, by what they hold.
NORMALISATION = re.compile(
    r"(^|\.)((\w*(norm|preproc|transform|scal|standard)\w*)\.)?((pixel|image|img|input|data|norm)_)?(?P<moment>mean|std)$",
    re.IGNORECASE,
)
# Under other names they count only as a pair (new_mean and new_std, mu and sigma) of one value a channel.
PAIRED = re.compile(
    r"(?P<before>.*?)(?<![a-z])(?P<moment>means?|mu|stds?|stdevs?|sigma|sd)(?P<after>_?)$", re.IGNORECASE
)
SPREADS = {"mean": ("std", "stdev", "sd"), "means": ("stds", "stdevs"), "mu": ("sigma", "std")}
OF_OTHERS = re.compile(  # statistics of something else than pixels
    r"(^|[^a-z])(running|batch|label|target|loss|score|reward|grad|logit|feature|latent|weight|init|noise|prior|posterior)"
    r"([^a-z]|$)",
    re.IGNORECASE,
)
OF_DATA = re.compile(r"norm|preproc|transform|data|input|image|img|pixel|config|cfg|args|param|meta", re.IGNORECASE)
MOST_CHANNELS = 2**10  # of a mean or a standard deviation that is read
TOLERANCE = 0.002  # published means are rounded to three digits
GREY_LEVELS = 255.0

CLASS_LISTS = {"classes", "classnames", "categories", "labels", "labelnames", "idxtoclass", "id2label", "idx2label"}
CLASS_NUMBERS = {"classtoidx", "classtoindex", "label2id", "label2idx", "class2idx"}

Normalisation = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class ExtraValue:
    """A value beside the weights, its keys in the file, and whether it is a tensor of the state dict itself."""

    name: str
    value: Any
    is_buffer: bool = False

    @property
    def shown(self) -> str:
        """Its keys, as a message has them."""
        return as_one_line(self.name)


def compare_normalisation(match: Match, content: Content, normalisation: Normalisation, path: Path) -> None:
    """Refuse a file that holds another normalisation than the data set's.

    Args:
        match: what is read of the file; its surplus tensors are looked at too.
        content: the whole file.
        normalisation: mean and standard deviation of the data set, per channel, of pixels in [0, 1].
        path: of the file.

    Raises:
        DataError: it does; the message gives both.
    """
    buffers = [ExtraValue(name, tensor, is_buffer=True) for name, tensor in match.surplus.items()]
    held = [each for each in (*buffers, *_beside(match, content)) if len(each.name) <= LONGEST]
    names = {each.name.lower() for each in held}
    for each in held:
        moment = _moment(each, names, len(normalisation[0]), content)
        if moment is None:
            continue
        key, ours = ("mean", "std")[moment], normalisation[moment]
        theirs = _numbers(each.value, content, path)
        if theirs is None or len(theirs) not in (1, len(ours)):
            continue
        theirs = [v / GREY_LEVELS for v in theirs] if max(theirs) > 1.5 else theirs  # of pixels from 0 to 255
        theirs = theirs * (len(ours) // len(theirs))
        if not all(abs(v - own) <= TOLERANCE for v, own in zip(theirs, ours, strict=True)):
            shown = ", ".join(f"{value:.4g}" for value in theirs)
            raise DataError(f"dataset.{key}: expected [{shown}], as {each.shown} in {path} says, got {[*ours]}")


def compare_classes(match: Match, content: Content, names: Sequence[str], path: Path) -> None:
    """Refuse a file whose own classes are not those of the data set, in their order.

    Args:
        match: what is read of the file.
        content: the whole file.
        names: of the data set's classes in the order of their numbers; empty: they have none, nothing is compared.
        path: of the file.

    Raises:
        DataError: they are others, or in another order; the message gives the first difference.
    """
    ours = [_plain(name) for name in names]
    for each in _beside(match, content) if names else ():
        theirs = _classes(each)
        if theirs is None or [_plain(name) for name in theirs] == ours:
            continue
        if each.name.rpartition("/")[2].lower() == "labels" and len(theirs) != len(ours):
            continue  # of something else, as of the curves of a plot
        same = sorted(map(_plain, theirs)) == sorted(ours)
        number = next((i for i, (one, own) in enumerate(zip(theirs, ours, strict=False)) if _plain(one) != own), None)
        if number is None:
            shown = f"{len(theirs)} classes, not {len(ours)}"
        else:
            shown = f"class {number} is {as_one_line(theirs[number])!r}, not {names[number]!r}"
        what = "the same classes in another order" if same else "another set of classes"
        hint = "" if same else f" (same classes under other names? save {CONVERT})"
        raise DataError(
            f"checkpoint: expected the data set's classes in their order, got {what} as {each.shown} in {path}: "
            f"{shown}{hint}"
        )


def _beside(match: Match, content: Content) -> Iterator[ExtraValue]:
    """What lies in the containers around the state dict's tensors, and in those next to them that hold no model."""
    value, keys = content.payload, match.state_dict.path
    for depth in range(len(keys) + 1):
        inner = {str(name): item for name, item in list_items(value)}
        for name, item in inner.items():
            at = [*keys[:depth], name]
            if depth < len(keys) or as_stored_tensor(item, content.storages) is None:
                yield ExtraValue("/".join(at), item)
            if name not in keys[depth : depth + 1] and not LYING_BESIDE.search(name.lower()):
                yield from (ExtraValue("/".join([*at, str(key)]), part) for key, part in _leaves(item, content))
        value = inner.get(keys[depth]) if depth < len(keys) else None


def _leaves(item: Any, content: Content) -> list[tuple[Any, Any]]:
    """What a mapping holds; nothing of one that holds weights."""
    if not isinstance(item, dict | Instance) or as_stored_tensor(item, content.storages) is not None:
        return []
    held = list_items(item)
    inner = (each for _, part in held if isinstance(part, dict | Instance) for each in list_items(part))
    tensors = [str(name) for name, part in (*held, *inner) if as_stored_tensor(part, content.storages) is not None]
    return held if all(len(name) <= LONGEST and PAIRED.match(name) for name in tensors) else []


def _moment(each: ExtraValue, names: set[str], channels: int, content: Content) -> int | None:
    """0 for a mean of pixels, 1 for a standard deviation; None for anything else.

    Args:
        names: of all that is held, in lower case.
    """
    dotted = each.name.replace("/", ".")
    if each.is_buffer and (known := NORMALISATION.search(dotted)):
        return int(known["moment"].lower() != "mean")
    found = PAIRED.match(dotted)
    if found is None or OF_OTHERS.search(found["before"]) or _size(each.value, content) not in (1, channels):
        return None
    moment, before, after = found["moment"].lower(), each.name[: len(found["before"])].lower(), found["after"]
    if before and type(each.value) in (int, float) and not OF_DATA.search(before):
        return None  # of some score
    for mean, spreads in SPREADS.items():
        partners = spreads if moment == mean else (mean,) if moment in spreads else ()
        if any(f"{before}{partner}{after}" in names for partner in partners):
            return int(moment != mean)
    return None


def _size(value: Any, content: Content) -> int | None:
    tensor = as_stored_tensor(value, content.storages)
    if tensor is not None:
        return math.prod(tensor.shape)
    if isinstance(value, list | tuple):
        return len(value)
    return 1 if type(value) in (int, float) else None


def _numbers(value: Any, content: Content, path: Path) -> list[float] | None:
    """The numbers of a tensor, an array, a list or one number; None if they are none, or not finite."""
    tensor = as_stored_tensor(value, content.storages)
    if tensor is not None:
        if tensor.kind != "dense" or not 0 < math.prod(tensor.shape) <= MOST_CHANNELS:
            return None
        values = read_values(tensor, path)
        if values.is_complex():
            return None
        listed: list[Any] = values.double().flatten().tolist()
    else:
        listed = [*value] if isinstance(value, list | tuple) else [value]
    is_numbers = all(type(item) in (int, float) and math.isfinite(item) for item in listed)
    return [float(item) for item in listed] if listed and is_numbers else None


def read_values(tensor: StoredTensor, path: Path) -> Tensor:
    """The values of a tensor of the file.

    Raises:
        DataError: the file is damaged there.
    """
    try:
        return tensor.read().detach()
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise damaged(path, error) from error


def _classes(described: ExtraValue) -> list[str] | None:
    """Names of classes in the order of their numbers; None if the value is no such thing."""
    key = re.sub(r"[^a-z0-9]", "", described.name.rpartition("/")[2].lower())
    value = described.value
    if isinstance(value, Instance):
        value = dict(list_items(value))  # an OrderedDict
    if isinstance(value, Mapping) and key in CLASS_NUMBERS | CLASS_LISTS:
        pairs = {_number(number): name for name, number in value.items() if isinstance(name, str)}
        if key in CLASS_LISTS and not (pairs and all(number is not None for number in pairs)):
            pairs = {_number(number): name for number, name in value.items()}
        names: list[Any] = [pairs.get(number) for number in range(len(value))]
    elif key in CLASS_LISTS and isinstance(value, list | tuple):
        names = [*value]
    else:
        return None
    return names if names and all(isinstance(name, str) for name in names) and len(set(names)) == len(names) else None


def _number(value: Any) -> int | None:
    if isinstance(value, str):  # as JSON writes keys
        return int(value) if re.fullmatch(r"\d{1,9}", value, re.ASCII) else None
    return value if type(value) is int else None


def _plain(name: str) -> str:
    """Without what spellings of one name differ in."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
