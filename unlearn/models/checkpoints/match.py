"""Finds the state dict of a net among those of a checkpoint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.errors import DataError, abbreviate, nearest
from unlearn.models.checkpoints.state_dicts import StateDict
from unlearn.models.checkpoints.tensors import StoredTensor

COUNTER = "num_batches_tracked"  # in batch normalisation; files from before torch 0.4.1 lack it
WRAPPERS = {"module", "_orig_mod"}  # parts of names, from data parallel and torch.compile
COUNTS = {"total_ops", "total_params", COUNTER}  # buffers that a profiler adds to every layer
AVERAGED = re.compile(r"(^|[^a-z])(ema|swa|avg|averaged?|teacher|momentum|shadow|target)([^a-z]|$)")
TRAINING_STATE = re.compile(  # state of training with the names and shapes of the weights
    r"(^|[^a-z])(optim|optimi[sz]ers?|grads?|gradients?|fishers?|hessians?|(max_)?exp_avgs?(_sqs?)?|square_avgs?)([^a-z]|$)"
    r"|^momentums?$|(^|[^a-z])momentum_buffers?([^a-z]|$)"
)
MAX_NAME = 500  # characters of a name
MAX_SHOWN = 3  # differences in an error message


@dataclass(frozen=True)
class Match:
    """A state dict, compared with a net.

    Attributes:
        label: its location in the file: keys and prefix, separated by slashes; "" for the whole file.
        state_dict: the state dict.
        tensors: name in the net -> tensor in the file.
        differences: why it is not a state dict of the net, in words; empty if it is.
        surplus: tensors in the file, by name, that the net does not have.
        others: labels of the other state dicts that match the net.
    """

    label: str
    state_dict: StateDict
    tensors: Mapping[str, StoredTensor]
    differences: tuple[str, ...]
    surplus: Mapping[str, StoredTensor] = field(default_factory=dict)
    others: tuple[str, ...] = ()


def find_match(state_dicts: Sequence[StateDict], net: nn.Module, entry: str | None = None) -> Match:
    """Find the state dict for `net`: that of `entry`, or the first that matches, averaged weights last.

    Args:
        state_dicts: the result of `read_state_dicts`.
        net: only names and shapes are read.
        entry: a label of a match, or one of its keys or its prefix.

    Raises:
        DataError: none matches, or none is called `entry`. The message names the differences and the content of the
            file.
    """
    net_tensors = net.state_dict()
    matches = [match for state_dict in state_dicts for match in _matches(state_dict, net_tensors)]
    complete = [match for match in matches if not match.differences]
    fitting = sorted((match for match in complete if not _is_training_state(match)), key=_is_averaged)
    chosen = [match for match in fitting if entry is None or _has_name(match, entry)]
    named = [match for match in complete if entry is None or _has_name(match, entry)]
    training = [match.label for match in named if _is_training_state(match)]
    if training and not chosen:
        got = f"the state of training, under {abbreviate(training)}"
        raise DataError(f"checkpoint: expected the weights of this net, got {got}")
    if not chosen:
        raise _misfit(matches, entry, net_tensors)
    match = chosen[0]
    others = tuple(other.label for other in fitting if other is not match)
    if entry is None and _are_numbered(chosen):
        labels = ", ".join(match.label for match in chosen)
        raise DataError(f"checkpoint.entry: expected the model to read, one of {labels}, got none")
    return Match(match.label, match.state_dict, match.tensors, (), _surplus(match, fitting), others)


def _matches(state_dict: StateDict, net_tensors: Mapping[str, Tensor]) -> Iterator[Match]:
    """Yield a match for each prefix with all names of the net; if there is none, for the best prefix."""
    for strip in (_unchanged, _unwrapped):
        names = {strip(name): name for name in state_dict.tensors}
        ours = {strip(name): name for name in net_tensors}
        prefixes = _prefixes(names, ours) or Counter({"": 0})
        if len(ours) < len(net_tensors):
            continue
        required = sum(name.rpartition(".")[2] != COUNTER for name in ours)
        full = [prefix for prefix, votes in prefixes.items() if votes >= required]
        best = [prefix for prefix, _ in prefixes.most_common(1)]
        yield from (_match(state_dict, prefix, names, ours, net_tensors) for prefix in full or best)
        if full:
            return


def _unchanged(name: str) -> str:
    return name


def _unwrapped(name: str) -> str:
    """Remove the parts that data parallel and torch.compile add to a name."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _prefixes(names: Iterable[str], ours: Mapping[str, str]) -> Counter[str]:
    """Count the names of the net, without counters, that follow each prefix."""
    votes: Counter[str] = Counter()
    for name in names:
        for end in (0, *(separator.end() for separator in re.finditer(r"[./]", name[:MAX_NAME]))):
            if name[end:] in ours and not name.endswith(COUNTER):
                votes[name[:end]] += 1
    return votes


def _match(
    state_dict: StateDict,
    prefix: str,
    names: Mapping[str, str],
    ours: Mapping[str, str],
    net_tensors: Mapping[str, Tensor],
) -> Match:
    tensors = {ours[name]: state_dict.tensors[names[prefix + name]] for name in ours if prefix + name in names}
    inner = {name[len(prefix) :]: name for name in names if name.startswith(prefix)}
    foreign = [name for name in inner if name not in ours and _belongs(name, ours)]
    label = "/".join([*state_dict.path, prefix.strip("./")]).strip("/")
    return Match(label, state_dict, tensors, tuple(_differences(tensors, net_tensors, foreign)))


def _belongs(name: str, ours: Iterable[str]) -> bool:
    """Whether a tensor that the net lacks shows that the file is of another net.

    It does in a module of the net, or in one with the same name except for its number.
    """
    if name.rpartition(".")[2] in COUNTS:
        return False
    modules = {_unnumbered(other.partition(".")[0]) for other in ours}
    return _unnumbered(name.partition(".")[0]) in modules


def _unnumbered(name: str) -> str:
    return re.sub(r"\d+", "", name)


def _differences(
    tensors: Mapping[str, StoredTensor], net_tensors: Mapping[str, Tensor], foreign: Sequence[str]
) -> Iterator[str]:
    for name, tensor in net_tensors.items():
        if name not in tensors:
            if name.rpartition(".")[2] != COUNTER:
                yield f"no {name}"
        elif tensors[name].kind != "dense":
            yield f"a tensor of another kind ({tensors[name].kind}) as {name}"
        elif tensors[name].shape != tensor.shape:
            yield f"{name} {list(tensors[name].shape)} instead of {list(tensor.shape)}"
    yield from (f"the unexpected {name}" for name in foreign)


def _is_averaged(match: Match) -> bool:
    return AVERAGED.search(match.label.lower()) is not None


def _is_training_state(match: Match) -> bool:
    """Whether a key of the state dict names gradients, or the state of an optimizer."""
    return any(TRAINING_STATE.search(part.lower()) for part in re.split(r"[/.]", match.label))


def _has_name(match: Match, entry: str) -> bool:
    name = entry.strip("./")
    return name in (match.label, *match.label.split("/"))


def _are_numbered(matches: Sequence[Match]) -> bool:
    """Whether the matches are the models of an ensemble: elements of one list."""
    lists = {match.state_dict.path[:-1] for match in matches}
    return (
        len(matches) > 1
        and len(lists) == 1
        and all(match.state_dict.path and match.state_dict.path[-1].isdigit() for match in matches)
    )


def _misfit(matches: Sequence[Match], entry: str | None, net_tensors: Mapping[str, Tensor]) -> DataError:
    """Create the error for a file without a state dict for the net, or without one that is called `entry`."""
    called = [match for match in matches if entry is None or _has_name(match, entry)]
    if not called:
        labels = [match.label or "all of the file" for match in matches]
        near = nearest(entry or "", labels)
        return DataError(f"checkpoint.entry: expected one of {abbreviate(labels)}{near}, got {entry!r}")
    closest = min(called, key=lambda match: (len(match.differences), -len(match.state_dict.tensors)))
    more = len(closest.differences) - MAX_SHOWN
    shown = ", ".join(closest.differences[:MAX_SHOWN]) + (f" and {more} others" if more > 0 else "")
    hint = _hint(closest.tensors, net_tensors) if len(closest.tensors) == len(net_tensors) else ""
    holds = f"the file holds {closest.state_dict}"
    return DataError(f"checkpoint: expected the tensors of this net, got {shown}{hint}; {holds}")


def _hint(tensors: Mapping[str, StoredTensor], net_tensors: Mapping[str, Tensor]) -> str:
    """A hint for another number of classes: one layer differs, only in its number of outputs."""
    shapes = [(name, tensors[name].shape, tuple(tensor.shape)) for name, tensor in net_tensors.items()]
    unequal = [(name, theirs, ours) for name, theirs, ours in shapes if theirs != ours]
    layers = {name.rpartition(".")[0] for name, _, _ in unequal}
    only_outputs = all(len(theirs) == len(ours) and theirs[1:] == ours[1:] for _, theirs, ours in unequal)
    if len(layers) != 1 or not only_outputs or not unequal[0][1]:
        return ""
    _, theirs, ours = unequal[0]
    return f"; the checkpoint has {theirs[0]} classes, the data set {ours[0]}"


def _surplus(match: Match, fitting: Sequence[Match]) -> dict[str, StoredTensor]:
    """The tensors that neither this nor another matching state dict uses."""
    used = {id(tensor) for other in fitting for tensor in other.tensors.values()}
    return {name: tensor for name, tensor in match.state_dict.tensors.items() if id(tensor) not in used}
