"""Checkpoints of others: every form that means one thing is read, nothing in them is run, every misfit is named."""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import pickle  # noqa: TID251 - files of others are made here
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unlearn.core.errors import DataError
from unlearn.models.checkpoints import content
from unlearn.models.checkpoints.content import file_sha256
from unlearn.models.checkpoints.weights import Weights, read_weights

NORMALISATION = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
State = dict[str, Tensor]


def net(classes: int = 4, width: int = 3) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(4 * width, classes))


STATE: State = net().state_dict()
ZEROS = {name: torch.zeros_like(tensor) for name, tensor in STATE.items()}


def under(prefix: str, state: Mapping[str, Tensor] = STATE) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def saved(path: Path, payload: Any, **how: Any) -> Path:
    torch.save(payload, path, **how)
    return path


def refusal(path: Path, onto: nn.Module | None = None, entry: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_weights(path, onto or net(), NORMALISATION, entry)
    text = str(caught.value)
    assert "\n" not in text
    assert "weights_only" not in text
    return text


def read(path: Path, entry: str | None = None) -> Weights:
    weights = read_weights(path, net(), NORMALISATION, entry)
    net().load_state_dict(weights.state)
    return weights


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        torch.jit.script(net()).save(path)


# What is read: each of these means one thing

WRAPPED = {
    "plain": STATE,
    "net": {"net": STATE, "acc": 93.1, "epoch": 199},
    "any key": {"weights of ours": STATE, "epoch": 3, "optimizer": {"state": {0: {"momentum": torch.ones(2)}}}},
    "two keys": {"checkpoint": {"network": STATE}},
    "data parallel": {"state_dict": under("module."), "best_acc1": torch.tensor(71.2)},
    "argparse": {"model": STATE, "args": argparse.Namespace(lr=0.1)},
    "Lightning": {"state_dict": under("net."), "hyper_parameters": {"optimizer": functools.partial(torch.optim.SGD)}},
    "path": {"state_dict": STATE, "root": Path("data")},
    "numpy score": {"state_dict": STATE, "best_acc": np.float64(93.2)},
    "backbone": under("backbone."),
    "long prefix": under("a.b.network."),
    "compiled": under("_orig_mod."),
    "compiled in parallel": under("module._orig_mod."),
    "parallel in compiled": under("_orig_mod.module."),
    "compiled layer": {name.replace("0.", "0._orig_mod.", 1): tensor for name, tensor in STATE.items()},
    "a list of one": [STATE],
    "arrays": {name: tensor.numpy() for name, tensor in STATE.items()},
    "Fortran arrays": {name: tensor.numpy().copy(order="F") for name, tensor in STATE.items()},
    "parameters": dict(net().named_parameters()) | dict(net().named_buffers()),
    "whole model": net(),
    "whole model in parallel": {"model": nn.DataParallel(net())},
    "views": {name: torch.stack([tensor, tensor])[1] for name, tensor in STATE.items()},
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", WRAPPED)
def test_what_means_one_thing_is_read(tmp_path: Path, name: str, zipped: bool) -> None:
    path = saved(tmp_path / "best model.pth.tar", WRAPPED[name], _use_new_zipfile_serialization=zipped)
    weights = read(path)
    assert same(weights.state, STATE)
    assert not any(tensor.requires_grad for tensor in weights.state.values())
    assert weights.others == weights.surplus == ()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".th", "", ".PT", ".bin"])
def test_the_content_tells_the_format(tmp_path: Path, suffix: str) -> None:
    save_file(under("model."), tmp_path / f"one{suffix}")
    assert same(read(tmp_path / f"one{suffix}").state, STATE)
    assert same(read(saved(tmp_path / f"other{suffix}", STATE)).state, STATE)


def test_the_bytes_of_a_big_endian_machine_are_swapped(tmp_path: Path) -> None:
    import zipfile

    path = saved(tmp_path / "little.pt", STATE)
    types = [tensor.numpy().dtype for tensor in STATE.values()]
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "big.pt", "w") as target:
        for name in archive.namelist():
            data, (_, *inner) = archive.read(name), name.split("/")
            if inner[0] == "data":
                data = np.frombuffer(data, types[int(inner[1])]).byteswap().tobytes()
            target.writestr(name, b"big" if inner == ["byteorder"] else data)
    assert same(read(tmp_path / "big.pt").state, STATE)


def test_a_torchscript_program_is_read_and_not_run(tmp_path: Path) -> None:
    script(tmp_path / "model.pt")
    assert same(read(tmp_path / "model.pt").state, STATE)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_plain_pickle_of_arrays_is_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"params": WRAPPED["arrays"]}, protocol))
    assert same(read(path).state, STATE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in STATE.items()}
    found = read(saved(tmp_path / "half.pt", state)).state
    assert all(found[name].dtype == tensor.dtype for name, tensor in STATE.items())
    assert all(torch.equal(found[name], state[name].to(found[name].dtype)) for name in state)


def test_a_prefix_stays_where_the_net_has_it(tmp_path: Path) -> None:
    wrapped = nn.ModuleDict({"module": net()})
    path = saved(tmp_path / "wrapped.pt", wrapped.state_dict())
    assert same(read_weights(path, wrapped, None).state, wrapped.state_dict())
    assert same(read_weights(saved(tmp_path / "bare.pt", STATE), wrapped, None).state, wrapped.state_dict())


def test_missing_counters_are_the_nets_own(tmp_path: Path) -> None:
    onto, state = net(), {name: t for name, t in STATE.items() if not name.endswith("num_batches_tracked")}
    onto[1].num_batches_tracked.fill_(5)
    weights = read_weights(saved(tmp_path / "old.pt", state), onto, None)
    assert int(weights.state["1.num_batches_tracked"]) == 5
    with torch.device("meta"):
        empty = net()
    assert read_weights(tmp_path / "old.pt", empty, None).state.keys() == STATE.keys()  # as pre-flight asks


def test_a_net_with_versions_takes_what_is_read(tmp_path: Path) -> None:
    from torchvision.models import mnasnet0_5

    onto = mnasnet0_5(weights=None, num_classes=3)
    onto.load_state_dict(read_weights(saved(tmp_path / "mnasnet.pt", onto.state_dict()), onto, None).state)


# What is more than the net


def test_surplus_entries_are_named_and_left_out(tmp_path: Path) -> None:
    extra = {"criterion.weight": torch.ones(3), "total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)}
    weights = read(saved(tmp_path / "more.pt", {**STATE, **extra}))
    assert same(weights.state, STATE)
    assert weights.surplus == tuple(extra)
    (note,) = weights.notes("more.pt")
    assert note.endswith("which were ignored: criterion.weight, total_ops, 0.total_params.")


@pytest.mark.parametrize("name", ["0.extra", "5.weight", "3.lora.weight"])
def test_surplus_that_another_net_would_have_is_a_misfit(tmp_path: Path, name: str) -> None:
    """A deeper net holds all tensors of a shallower one."""
    text = refusal(saved(tmp_path / "deeper.pt", {**STATE, name: torch.ones(2)}))
    assert f"got the unexpected {name};" in text


@pytest.mark.parametrize(
    ("payload", "first", "second"),
    [
        ({"state_dict": ZEROS, "state_dict_ema": STATE}, "state_dict", "state_dict_ema"),
        ({"model_ema": STATE, "model": ZEROS}, "model", "model_ema"),
        ({**under("ema_model.module."), **under("model.", ZEROS)}, "model", "ema_model.module"),
    ],
)
def test_of_two_models_the_one_without_averages_is_read_and_named(
    tmp_path: Path, payload: Any, first: str, second: str
) -> None:
    path = saved(tmp_path / "both.pt", payload)
    weights = read(path)
    assert same(weights.state, ZEROS)
    assert (weights.entry, weights.others, weights.surplus) == (first, (second,), ())
    (note,) = weights.notes("both.pt")
    assert note == f"both.pt holds several models: {first} was read, not {second} (checkpoint.entry chooses)."
    assert same(read(path, second).state, STATE)
    text = refusal(path, entry="emma")
    assert text.startswith("checkpoint.entry: expected one of ")
    assert text.endswith("got 'emma'")
    assert second in text


@pytest.mark.parametrize(
    ("payload", "label"),
    [
        ({"optimizer": {"exp_avg": ZEROS}}, "optimizer/exp_avg"),
        ({"grads": ZEROS}, "grads"),
        (under("fisher_diag.", ZEROS), "fisher_diag"),
        ({"state": {"exp_avg_sq": ZEROS}}, "state/exp_avg_sq"),
        ({"momentum": ZEROS}, "momentum"),
        ({"momentum_buffer": {"model": ZEROS}}, "momentum_buffer/model"),
    ],
)
def test_what_training_keeps_beside_the_weights_is_never_read(tmp_path: Path, payload: Any, label: str) -> None:
    words = f"expected the weights of this net, got the state of training, under {label}"
    assert refusal(saved(tmp_path / "alone.pt", payload)) == f"checkpoint: {words}"
    both = saved(tmp_path / "both.pt", {**payload, "upgraded": STATE})
    assert same(read(both).state, STATE)
    assert read(both).others == ()
    assert words in refusal(both, entry=label)


def test_a_momentum_encoder_and_a_name_with_such_letters_are_models(tmp_path: Path) -> None:
    for name in ("momentum_encoder", "gradcam_net", "optimal"):
        assert same(read(saved(tmp_path / "model.pt", {name: STATE})).state, STATE)


def test_the_models_of_an_ensemble_must_be_chosen_from(tmp_path: Path) -> None:
    path = saved(tmp_path / "ensemble.pt", {"models": [STATE, ZEROS]})
    assert refusal(path) == "checkpoint.entry: expected the model to read, one of models/0, models/1, got none"
    assert same(read(path, "1").state, ZEROS)


@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize("name", ["normalize.{}", "{}", "input_norm.{}", "pixel_{}", "0_preprocess.image_{}"])
def test_a_normalisation_in_the_file_must_be_the_data_sets(tmp_path: Path, name: str, scale: float) -> None:
    mean, std = (torch.tensor(values).view(3, 1, 1) * scale for values in NORMALISATION)
    path = saved(tmp_path / "norm.pt", {**STATE, name.format("mean"): mean, name.format("std"): std})
    assert same(read(path).state, STATE)
    saved(path, {**STATE, name.format("mean"): mean, name.format("std"): std * 0.9})
    assert refusal(path).startswith("dataset.std: expected [0.2061, 0.2016, 0.2025], the value of ")
    saved(path, {**STATE, name.format("mean"): torch.zeros(3)})
    assert refusal(path).startswith("dataset.mean: expected [0, 0, 0], the value of ")
    assert refusal(path).endswith("got [0.485, 0.456, 0.406]")


# What is refused


CHANNELS = [0.5], [0.25]
MOMENTS = {"mean": torch.tensor([0.5]).view(1, 1, 1), "std": torch.tensor([0.25]).view(1, 1, 1)}
NORMALISED = {  # a file -> where it says that pixels have mean 0.5
    "robustness": (STATE | {f"normalizer.new_{key}": value for key, value in MOMENTS.items()}, "normalizer.new_mean"),
    "underscore": (STATE | {f"_{key}": value for key, value in MOMENTS.items()}, "_mean"),
    "letters": (STATE | {"mu": MOMENTS["mean"], "sigma": MOMENTS["std"]}, "mu"),
    "an attribute": (under("net.") | {f"pre.x_{key}": value for key, value in MOMENTS.items()}, "pre.x_mean"),
    "outer tensors": ({"state_dict": STATE} | MOMENTS, "mean"),
    "outer lists": ({"state_dict": STATE, "mean": [0.5], "std": (0.25,)}, "mean"),
    "outer numbers": ({"state_dict": STATE, "mean": 127.5, "std": 63.75}, "mean"),
    "array": ({"net": STATE, "mean": np.array([0.5]), "std": np.array([0.25])}, "mean"),
    "config": ({"state_dict": STATE, "config": {"mean": [0.5], "std": [0.25]}}, "config/mean"),
    "argparse": ({"model": STATE, "args": argparse.Namespace(mean=[0.5], std=[0.25])}, "args/mean"),
    "a group": ({"model": {"net": STATE, "normalize": MOMENTS}}, "model/normalize/mean"),
}


@pytest.mark.parametrize("name", NORMALISED)
def test_a_normalisation_is_compared_wherever_the_file_keeps_it(tmp_path: Path, name: str) -> None:
    payload, place = NORMALISED[name]
    path = saved(tmp_path / "weights.pt", payload)
    assert same(read_weights(path, net(), CHANNELS).state, STATE)
    with pytest.raises(DataError, match=rf"^dataset.mean: expected \[0.5\], the value of {place} in .*, got \[0.4\]$"):
        read_weights(path, net(), ([0.4], [0.25]))
    with pytest.raises(DataError, match=r"^dataset.std: expected \[0.25\], the value of "):
        read_weights(path, net(), ([0.5], [0.3]))


@pytest.mark.parametrize(
    "payload",
    [
        STATE | {"loss_mean": torch.tensor([0.9]), "loss_std": torch.tensor([0.1])},
        STATE | {"aux.bn.running_mean": torch.tensor([0.9]), "aux.bn.running_std": torch.tensor([0.1])},
        {"state_dict": STATE, "args": argparse.Namespace(std=0.02)},
        {"state_dict": STATE, "accuracy": {"mean": 0.91, "std": 0.01}},
        {"state_dict": STATE, "mean": [0.9, 0.9], "std": [0.1, 0.1]},
        {"state_dict": STATE, "optimizer": {"mean": [0.9], "std": [0.1]}},
    ],
)
def test_other_means_are_no_normalisation(tmp_path: Path, payload: Any) -> None:
    assert same(read_weights(saved(tmp_path / "weights.pt", payload), net(), CHANNELS).state, STATE)


NAMES = ("cat", "dog", "fire truck", "owl")
OTHERS = [*NAMES[:3], "yak"]
SWAPPED = ["cat", "owl", "fire truck", "dog"]
SAYS = {  # spellings of a list of classes
    "class_to_idx": lambda names: {"class_to_idx": {name: i for i, name in reversed([*enumerate(names)])}},
    "idx_to_class": lambda names: {"idx_to_class": dict(enumerate(names))},
    "id2label": lambda names: {"id2label": {str(i): name for i, name in enumerate(names)}},
    "classes": lambda names: {"classes": list(names)},
    "class_names": lambda names: {"class_names": tuple(names)},
    "meta/categories": lambda names: {"meta": {"categories": list(names)}},
    "args/classes": lambda names: {"args": argparse.Namespace(classes=list(names))},
}


@pytest.mark.parametrize("place", SAYS)
def test_the_classes_of_a_file_are_the_data_sets_in_their_order(tmp_path: Path, place: str) -> None:
    def refusal(names: list[str]) -> str:
        path = saved(tmp_path / "weights.pt", {"state_dict": STATE, "epoch": 3} | SAYS[place](names))
        with pytest.raises(DataError) as caught:
            read_weights(path, net(), None, None, NAMES)
        return str(caught.value).replace(str(path), "FILE")

    expected = "checkpoint: expected the data set's classes in their order, got"
    assert refusal(SWAPPED) == (
        f"{expected} the same classes in another order as {place} in FILE: class 1 is 'owl', not 'dog'"
    )
    assert refusal(OTHERS).startswith(
        f"{expected} another set of classes as {place} in FILE: class 3 is 'yak', not 'owl' (same classes under other"
    )
    assert f"as {place} in FILE: 3 classes, not 4" in refusal([*NAMES[:3]])
    path = saved(tmp_path / "weights.pt", {"state_dict": STATE} | SAYS[place](["Cat", "dog", "fire_truck", "owl"]))
    assert same(read_weights(path, net(), None, None, NAMES).state, STATE)
    path = saved(tmp_path / "weights.pt", {"state_dict": STATE} | SAYS[place](SWAPPED))
    assert same(read_weights(path, net(), None).state, STATE)  # for a data set whose classes have no names


@pytest.mark.parametrize(
    "beside",
    [
        {"classes": 4},
        {"labels": ["a", "b", "a"]},
        {"labels": ["loss", "accuracy"]},
        {"classes": [0, 1, 2, 3]},
        {"class_to_idx": {}},
    ],
)
def test_what_names_no_classes_is_not_compared(tmp_path: Path, beside: dict[str, Any]) -> None:
    path = saved(tmp_path / "weights.pt", {"state_dict": STATE} | beside)
    assert same(read_weights(path, net(), None, None, NAMES).state, STATE)


def test_the_classes_of_another_model_in_the_file_are_not_compared(tmp_path: Path) -> None:
    payload = {"a": {"net": STATE, "classes": list(NAMES)}, "b": {"net": dict(ZEROS), "classes": SWAPPED}}
    path = saved(tmp_path / "weights.pt", payload)
    assert same(read_weights(path, net(), None, "a", NAMES).state, STATE)
    with pytest.raises(DataError, match="in another order as b/classes"):
        read_weights(path, net(), None, "b", NAMES)


@pytest.mark.parametrize(("value", "accepted"), [(7.0, True), (7.5, False), (1e30, False), (-3.0, True)])
def test_a_counter_may_be_a_whole_number_as_a_float(tmp_path: Path, value: float, accepted: bool) -> None:
    path = saved(tmp_path / "weights.pt", STATE | {"1.num_batches_tracked": torch.tensor(value)})
    if accepted:
        counter = read(path).state["1.num_batches_tracked"]
        assert counter.dtype == torch.int64
        assert counter.item() == value
    else:
        assert "expected 1.num_batches_tracked as finite torch.int64, got torch.float32" in refusal(path)


def test_archives_of_other_kinds_are_called_what_they_are(tmp_path: Path) -> None:
    import tarfile

    np.savez(tmp_path / "weights.npz", **{name: tensor.numpy() for name, tensor in STATE.items()})
    assert "got NumPy's archive of arrays (.npz: 0.weight.npy, " in refusal(tmp_path / "weights.npz")
    with tarfile.open(tmp_path / "weights.tar", "w") as archive:
        archive.add(saved(tmp_path / "weights.pt", STATE), "weights.pt")
    assert refusal(tmp_path / "weights.tar").endswith("got a tar archive: unpack it first")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty one"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"\x1f\x8b\x08\x00rest", "a gzip file: unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"hello world\n" * 9, "text: 'hello world"),
        (b'{"weight_map": {}}', "text: "),
        (bytes(range(255, -1, -1)), "a damaged one"),
        (b"PK\x03\x04" + bytes(50), "a damaged one"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "weights.pt").write_bytes(data)
    assert words in refusal(tmp_path / "weights.pt")


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.pt").endswith("none.pt, got none there")
    assert refusal(tmp_path).endswith("got a folder")
    assert refusal(tmp_path / ("x" * 300)).endswith("got File name too long")
    os.mkfifo(tmp_path / "pipe.pt")
    assert refusal(tmp_path / "pipe.pt").endswith("got a pipe or device")


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("resnet18.pt", b"x")
    assert "a zip archive without data.pkl (resnet18.pt)" in refusal(tmp_path / "a.pt")
    with zipfile.ZipFile(saved(tmp_path / "b.pt", STATE)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "c.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert "is compressed, which torch never does" in refusal(tmp_path / "c.pt")


@pytest.mark.parametrize("suffix", [".pt", ".legacy.pt", ".safetensors"])
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.99])
def test_files_that_were_cut_are_damaged(tmp_path: Path, suffix: str, fraction: float) -> None:
    path, layer = tmp_path / f"weights{suffix}", nn.Linear(100, 100)
    if suffix == ".safetensors":
        save_file(layer.state_dict(), path)
    else:
        saved(path, layer.state_dict(), _use_new_zipfile_serialization=suffix == ".pt")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    assert "got a damaged one" in refusal(path, layer)


def test_a_flipped_byte_of_the_weights_is_seen(tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.pt", {"weight": torch.full((50, 50), 1.5), "bias": torch.ones(50)})
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"\x00\x00\xc0\x3f" * 20) + 2] ^= 1
    path.write_bytes(whole)
    assert "CRC" in refusal(path, nn.Linear(50, 50))


def test_files_without_weights(tmp_path: Path) -> None:
    for payload, words in (
        ({"epoch": 3, "lr": 0.1}, "got no tensors, only epoch, lr; where it was made, save torch.save("),
        ({}, "no tensors, only nothing"),
        ({"state_dict": {}}, "no tensors, only state_dict"),
        (torch.ones(2), "no tensors"),
        ({"args": argparse.Namespace(a=1)}, "its objects or code (argparse.Namespace) are not run"),
    ):
        assert words in refusal(saved(tmp_path / "weights.pt", payload))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_must_be_finite(tmp_path: Path, value: float) -> None:
    state = dict(STATE) | {"3.bias": torch.tensor([0, value, 0, 0])}
    assert refusal(saved(tmp_path / "weights.pt", state)).endswith("got others in 3.bias")


def test_differences_are_named_with_both_shapes_and_what_the_file_holds(tmp_path: Path) -> None:
    state = under("module.") | {"module.3.weight": torch.ones(4, 7)}
    del state["module.0.bias"]
    text = refusal(saved(tmp_path / "other.pt", {"state_dict": state}))
    assert "expected the tensors of this net, got no 0.bias, 3.weight [4, 7] instead of [4, 12];" in text
    assert text.endswith(
        "the file holds 8 tensors under state_dict "
        "(module.0.weight [3, 1, 3, 3], module.1.weight [3], module.1.bias [3], ...)"
    )
    wide = refusal(saved(tmp_path / "wide.pt", net(width=5).state_dict()))
    assert "0.weight [5, 1, 3, 3] instead of [3, 1, 3, 3], " in wide
    assert " and 4 others; " in wide  # of 7 tensors and not the counter


def test_a_head_for_other_classes_gets_a_hint(tmp_path: Path) -> None:
    text = refusal(saved(tmp_path / "five.pt", net(classes=5).state_dict()))
    assert "; the checkpoint has 5 classes, the data set 4; " in text
    assert "the data set" not in refusal(saved(tmp_path / "wide.pt", net(width=5).state_dict()))


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(2, 2).to_sparse(), "a tensor of another kind (sparse tensor) as weight"),
        (torch.empty(2, 2, device="meta"), "a tensor of another kind (meta tensor no storage) as weight"),
        (torch.full((2, 2), 1e300, dtype=torch.float64), "expected weight as finite torch.float32"),
        (torch.ones(2, 2, dtype=torch.complex64), "expected weight as finite torch.float32"),
        (torch.ones(2, 2, dtype=torch.int8), "expected weight as finite torch.float32"),
    ],
    ids=["sparse", "meta", "overflow", "complex", "integer"],
)
@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_weights_must_be_dense_and_of_the_nets_type(tmp_path: Path, tensor: Tensor, words: str) -> None:
    assert words in refusal(saved(tmp_path / "odd.pt", {"weight": tensor, "bias": torch.ones(2)}), nn.Linear(2, 2))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_negative_bit_is_applied(tmp_path: Path, zipped: bool) -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    weight = torch.complex(values, -values).conj().imag
    assert weight.is_neg()
    path = saved(tmp_path / "neg.pt", {"weight": weight, "bias": torch.ones(2)}, _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_weights(path, nn.Linear(2, 2), NORMALISATION).state["weight"], values)


def test_metadata_of_another_kind_is_refused(tmp_path: Path) -> None:
    class Odd:
        def __reduce__(self) -> Any:
            values = torch.ones(2, 2)
            arguments = (
                torch.storage.TypedStorage(wrap_storage=values.untyped_storage(), dtype=values.dtype, _internal=True),
                0,
                (2, 2),
                (2, 1),
                False,
                {},
                {"flip": True},
            )
            return torch._utils._rebuild_tensor_v2, arguments

    text = refusal(saved(tmp_path / "odd.pt", {"weight": Odd(), "bias": torch.ones(2)}), nn.Linear(2, 2))
    assert "a tensor of another kind (tensor with metadata of another kind) as weight" in text


def test_a_tensor_that_only_claims_its_size_is_never_made(tmp_path: Path) -> None:
    huge = {"weight": torch.ones(1).expand(10**6, 10**6), "bias": torch.ones(2)}
    assert "weight [1000000, 1000000] instead of [2, 2]" in refusal(saved(tmp_path / "huge.pt", huge), nn.Linear(2, 2))


# The key


def test_the_hash_is_that_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"one")
    assert file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(content, "hash_file", None)
        assert file_sha256(path) == hashlib.sha256(b"one").hexdigest()  # remembered
    path.write_bytes(b"three")
    assert file_sha256(path) == hashlib.sha256(b"three").hexdigest()
    path.write_bytes(b"seven")
    os.utime(path, ns=(1, 1))
    assert file_sha256(path) == hashlib.sha256(b"seven").hexdigest()
    with pytest.raises(DataError, match="expected a file"):
        file_sha256(tmp_path / "none.pt")
