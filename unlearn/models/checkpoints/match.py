"""Which of a checkpoint's tensors are those of a net."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from unlearn.core.errors import DataError, abbreviate, nearest
from unlearn.models.checkpoints.state_dicts import StateDict
from unlearn.models.checkpoints.tensors import StoredTensor

COUNTER = "num_batches_tracked"  # of batch normalisation; files from before torch 0.4.1 lack it
WRAPPERS = {"module", "_orig_mod"}  # parts of names: data parallel, torch.compile
COUNTS = {"total_ops", "total_params", COUNTER}  # what a profiler leaves in every layer
AVERAGED = re.compile(r"(^|[^a-z])(ema|swa|avg|averaged?|teacher|momentum|shadow|target)([^a-z]|$)")
LYING_BESIDE = re.compile(  # what training keeps beside the weights, with their names and shapes
    r"(^|[^a-z])(optim|optimi[sz]ers?|grads?|gradients?|fishers?|hessians?|(max_)?exp_avgs?(_sqs?)?|square_avgs?)([^a-z]|$)"
    r"|^momentums?$|(^|[^a-z])momentum_buffers?([^a-z]|$)"
)
LONGEST = 500  # characters of a name
SHOWN = 3  # differences named in an error


@dataclass(frozen=True)
class Match:
    """A state dict as that of a net.

    Attributes:
        label: where it lies in the file: keys and prefix, between slashes; "" for all of the file.
        tensors: the net's name for each -> the file's tensor.
        differences: in words, why it is not the net's; empty if it is.
        surplus: names and tensors of the file that the net does not have.
    """

    label: str
    state_dict: StateDict
    tensors: Mapping[str, StoredTensor]
    differences: tuple[str, ...]
    surplus: Mapping[str, StoredTensor] = field(default_factory=dict)
    others: tuple[str, ...] = ()  # labels of what could have been read instead


def find_match(state_dicts: Sequence[StateDict], net: nn.Module, entry: str | None = None) -> Match:
    """The state dict for `net`: that of `entry`, or the first that fits, those that hold averages last.

    Args:
        state_dicts: as `read_state_dicts` gives them.
        net: only names and shapes are read.
        entry: a label of a match, or one of its keys or its prefix.

    Raises:
        DataError: none fits, or none is called `entry`. The message says what differs, and what the file holds.
    """
    wanted = net.state_dict()
    matches = [match for each in state_dicts for match in _matches(each, wanted)]
    complete = [match for match in matches if not match.differences]
    fitting = sorted((match for match in complete if not _lies_beside(match)), key=_is_averaged)
    chosen = [match for match in fitting if entry is None or _is_called(match, entry)]
    beside = [match.label for match in complete if _lies_beside(match) and (entry is None or _is_called(match, entry))]
    if beside and not chosen:
        got = f"what training keeps beside them, under {abbreviate(beside)}"
        raise DataError(f"checkpoint: expected the weights of this net, got {got}")
    if not chosen:
        raise _misfit(matches, entry, wanted)
    match = chosen[0]
    others = tuple(each.label for each in fitting if each is not match)
    if entry is None and _are_numbered(chosen):
        labels = ", ".join(each.label for each in chosen)
        raise DataError(f"checkpoint.entry: expected the model to read, one of {labels}, got none")
    return Match(match.label, match.state_dict, match.tensors, (), _surplus(match, fitting), others)


def _matches(state_dict: StateDict, wanted: Mapping[str, Tensor]) -> Iterator[Match]:
    """For each prefix under which all names of the net are found; if there is none, for the best one."""
    for strip in (_as_it_is, _unwrapped):
        names = {strip(name): name for name in state_dict.tensors}
        ours = {strip(name): name for name in wanted}
        prefixes = _prefixes(names, ours) or Counter({"": 0})
        if len(ours) < len(wanted):
            continue
        required = sum(name.rpartition(".")[2] != COUNTER for name in ours)
        full = [prefix for prefix, votes in prefixes.items() if votes >= required]
        best = [prefix for prefix, _ in prefixes.most_common(1)]
        yield from (_match(state_dict, prefix, names, ours, wanted) for prefix in full or best)
        if full:
            return


def _as_it_is(name: str) -> str:
    return name


def _unwrapped(name: str) -> str:
    """Without what data parallel and torch.compile put into it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _prefixes(names: Iterable[str], ours: Mapping[str, str]) -> Counter[str]:
    """How many of the net's names, counters aside, are found behind each prefix."""
    votes: Counter[str] = Counter()
    for name in names:
        for at in (0, *(found.end() for found in re.finditer(r"[./]", name[:LONGEST]))):
            if name[at:] in ours and not name.endswith(COUNTER):
                votes[name[:at]] += 1
    return votes


def _match(
    state_dict: StateDict, prefix: str, names: Mapping[str, str], ours: Mapping[str, str], wanted: Mapping[str, Tensor]
) -> Match:
    found = {own: state_dict.tensors[names[prefix + name]] for name, own in ours.items() if prefix + name in names}
    inner = {name[len(prefix) :]: name for name in names if name.startswith(prefix)}
    foreign = [name for name in inner if name not in ours and _belongs(name, ours)]
    label = "/".join([*state_dict.path, prefix.strip("./")]).strip("/")
    return Match(label, state_dict, found, tuple(_differences(found, wanted, foreign)))


def _belongs(name: str, ours: Iterable[str]) -> bool:
    """Whether a tensor that the net lacks would be a part of it: in one of its modules, or beside one of that name but
    for its number. The net is then another one."""
    if name.rpartition(".")[2] in COUNTS:
        return False
    tops = {own.partition(".")[0] for own in ours}
    return _unnumbered(name.partition(".")[0]) in {_unnumbered(top) for top in tops}


def _unnumbered(name: str) -> str:
    return re.sub(r"\d+", "", name)


def _differences(
    found: Mapping[str, StoredTensor], wanted: Mapping[str, Tensor], foreign: Sequence[str]
) -> Iterator[str]:
    for name, tensor in wanted.items():
        if name not in found:
            if name.rpartition(".")[2] != COUNTER:
                yield f"no {name}"
        elif found[name].kind != "dense":
            yield f"a tensor of another kind ({found[name].kind}) as {name}"
        elif found[name].shape != tensor.shape:
            yield f"{name} {list(found[name].shape)} instead of {list(tensor.shape)}"
    yield from (f"the unexpected {name}" for name in foreign)


def _is_averaged(match: Match) -> bool:
    return AVERAGED.search(match.label.lower()) is not None


def _lies_beside(match: Match) -> bool:
    """Whether a key around it says that it holds gradients, or a state of the optimizer."""
    return any(LYING_BESIDE.search(part.lower()) for part in re.split(r"[/.]", match.label))


def _is_called(match: Match, entry: str) -> bool:
    asked = entry.strip("./")
    return asked in (match.label, *match.label.split("/"))


def _are_numbered(matches: Sequence[Match]) -> bool:
    """Whether they are the models of an ensemble: elements of one list."""
    lists = {match.state_dict.path[:-1] for match in matches}
    return (
        len(matches) > 1
        and len(lists) == 1
        and all(match.state_dict.path and match.state_dict.path[-1].isdigit() for match in matches)
    )


def _misfit(matches: Sequence[Match], entry: str | None, wanted: Mapping[str, Tensor]) -> DataError:
    """The error for a file without a state dict for the net, or without one that is called `entry`."""
    called = [match for match in matches if entry is None or _is_called(match, entry)]
    if not called:
        labels = [match.label or "all of the file" for match in matches]
        near = nearest(entry or "", labels)
        return DataError(f"checkpoint.entry: expected one of {abbreviate(labels)}{near}, got {entry!r}")
    closest = min(called, key=lambda match: (len(match.differences), -len(match.state_dict.tensors)))
    more = len(closest.differences) - SHOWN
    shown = ", ".join(closest.differences[:SHOWN]) + (f" and {more} others" if more > 0 else "")
    hint = _hint(closest.tensors, wanted) if len(closest.tensors) == len(wanted) else ""
    holds = f"the file holds {closest.state_dict}"
    return DataError(f"checkpoint: expected the tensors of this net, got {shown}{hint}; {holds}")


def _hint(tensors: Mapping[str, StoredTensor], wanted: Mapping[str, Tensor]) -> str:
    """A word on a head for other classes: one layer, which differs in its number of outputs and in nothing else."""
    shapes = [(name, tensors[name].shape, tuple(tensor.shape)) for name, tensor in wanted.items()]
    unequal = [(name, theirs, ours) for name, theirs, ours in shapes if theirs != ours]
    layers = {name.rpartition(".")[0] for name, _, _ in unequal}
    outputs_alone = all(len(theirs) == len(ours) and theirs[1:] == ours[1:] for _, theirs, ours in unequal)
    if len(layers) != 1 or not outputs_alone or not unequal[0][1]:
        return ""
    _, theirs, ours = unequal[0]
    return f"; the checkpoint has {theirs[0]} classes, the data set {ours[0]}"


def _surplus(match: Match, fitting: Sequence[Match]) -> dict[str, StoredTensor]:
    """What lies beside the net's tensors, and is not what could have been read instead."""
    used = {id(tensor) for each in fitting for tensor in each.tensors.values()}
    return {name: tensor for name, tensor in match.state_dict.tensors.items() if id(tensor) not in used}
