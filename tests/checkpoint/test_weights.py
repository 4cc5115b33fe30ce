"""Checkpoints of others: every common form is read, nothing in them is run, every misfit is named."""

from __future__ import annotations

import argparse
import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unlearn import checkpoint
from unlearn.checkpoint import file_sha256, fit, read_state
from unlearn.errors import DataError


def net(classes: int = 4, width: int = 3) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(4 * width, classes))


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_state(path)
    text = str(caught.value)
    assert text.startswith("checkpoint: expected ")
    assert str(path) in text
    assert "\n" not in text
    return text


def misfit(state: dict[str, Tensor], onto: nn.Module) -> str:
    with pytest.raises(DataError) as caught:
        fit(state, onto)
    text = str(caught.value)
    assert text.startswith("checkpoint: expected the tensors of this net, came ")
    assert "\n" not in text
    return text


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Touches:
    """A pickle of it touches a file when it is read carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".PT"])
@pytest.mark.parametrize("wrap", ["", "state_dict", "model_state_dict", "model"])
def test_common_forms_are_read(tmp_path: Path, suffix: str, wrap: str) -> None:
    state, path = net().state_dict(), tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        rest = {"epoch": 3, "optimizer": {"state": {0: {"momentum": torch.ones(2)}}}}
        torch.save({wrap: state, **rest} if wrap else state, path)
    assert same(read_state(path), state)


def test_old_files_and_parameters_are_read(tmp_path: Path) -> None:
    path, parameters = tmp_path / "old.pth", dict(net().named_parameters())
    torch.save(parameters, path, _use_new_zipfile_serialization=False)
    found = read_state(path)
    assert same(found, parameters)
    assert not any(tensor.requires_grad for tensor in found.values())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["whole", "beside", "inside"])
def test_nothing_in_a_checkpoint_is_run(tmp_path: Path, zipped: bool, where: str) -> None:
    evil, touched, path = Touches(tmp_path / "touched"), tmp_path / "touched", tmp_path / "evil.pt"
    payload = {"whole": evil, "beside": {"state_dict": net().state_dict(), "x": evil}, "inside": {"state_dict": evil}}
    torch.save(payload[where], path, _use_new_zipfile_serialization=zipped)
    text = refusal(path)
    assert "objects or code (" in text
    assert "system" in text
    assert "torch.save(net.state_dict(), file)" in text
    assert not touched.exists()
    torch.load(path, weights_only=False)  # noqa: TID251 - the test is able to fail
    assert touched.exists()


def script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        torch.jit.script(nn.Linear(2, 2)).save(path)


@pytest.mark.parametrize(
    ("save", "named"),
    [
        (lambda path: torch.save(net(), path), "torch.nn.modules.container.Sequential"),
        (lambda path: torch.save({"state_dict": {}, "args": argparse.Namespace(a=1)}, path), "argparse.Namespace"),
        (script, "a TorchScript program"),
    ],
)
def test_objects_are_refused_by_name(tmp_path: Path, save: Callable[[Path], None], named: str) -> None:
    save(tmp_path / "model.pt")
    assert f"objects or code ({named})" in refusal(tmp_path / "model.pt")


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "expected a file in" in refusal(tmp_path / "none.pt")
    assert "came a folder" in refusal(tmp_path)
    (tmp_path / "weights.h5").write_bytes(b"x")
    assert "ends in .safetensors, .pt, .pth, .ckpt, .bin" in refusal(tmp_path / "weights.h5")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello world\n" * 9, b"\x89PNG\r\n\x1a\n\x00\x00", bytes(range(256)) * 4])
def test_files_of_other_kinds_are_damaged(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    assert "came a damaged one" in refusal(path)


@pytest.mark.parametrize("suffix", [".pt", ".legacy.pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_truncated_files_are_damaged(tmp_path: Path, suffix: str, share: float) -> None:
    path, state = tmp_path / f"weights{suffix}", nn.Linear(100, 100).state_dict()
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=suffix == ".pt")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "came a damaged one" in refusal(path)


def test_files_without_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    for payload, words in (
        ({"epoch": 3, "lr": 0.1}, "no tensors, only epoch, lr"),
        ({}, "only nothing"),
        ({"state_dict": {}}, "only nothing"),
        ([torch.ones(2)], "came a list"),
        (torch.ones(2), "came a Tensor"),
    ):
        torch.save(payload, path)
        assert words in refusal(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_must_be_finite(tmp_path: Path, value: float) -> None:
    state = net().state_dict()
    state["3.bias"][1] = value
    torch.save(state, tmp_path / "weights.pt")
    assert "expected finite weights" in refusal(tmp_path / "weights.pt")
    assert "3.bias" in refusal(tmp_path / "weights.pt")


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.", "_orig_mod.", "_orig_mod.module.", "model.net."])
def test_prefixes_that_all_share_are_dropped(prefix: str) -> None:
    state = net().state_dict()
    fitted = fit({prefix + name: tensor for name, tensor in state.items()}, net())
    assert same(fitted, state)


def test_a_prefix_stays_where_the_net_has_it() -> None:
    wrapped = nn.ModuleDict({"net": net()})
    assert same(fit(wrapped.state_dict(), wrapped), wrapped.state_dict())


def test_a_prefix_that_not_all_share_is_a_difference() -> None:
    state = {f"module.{name}": tensor for name, tensor in net().state_dict().items()} | {"extra": torch.ones(1)}
    assert "no 0.weight, no 0.bias, no 1.weight and " in misfit(state, net())


def test_missing_counters_are_the_nets_own() -> None:
    onto, state = net(), net().state_dict()
    del state["1.num_batches_tracked"]
    onto[1].num_batches_tracked.fill_(5)
    fitted = fit(state, onto)
    onto.load_state_dict(fitted)
    assert int(fitted["1.num_batches_tracked"]) == 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast(dtype: torch.dtype) -> None:
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in net().state_dict().items()}
    fitted = fit(state, net())
    assert all(fitted[name].dtype == tensor.dtype for name, tensor in net().state_dict().items())
    assert all(torch.equal(fitted[name], state[name].to(fitted[name].dtype)) for name in state)


def test_differences_are_named_with_both_shapes() -> None:
    state = net().state_dict()
    del state["0.bias"]
    state["2.scale"] = torch.ones(1)
    state["3.weight"] = torch.ones(4, 7)
    text = misfit(state, net())
    assert text.endswith("came no 0.bias, 3.weight [4, 7] instead of [4, 12], the unexpected 2.scale")
    wide = misfit(net(width=5).state_dict(), net())
    assert "0.weight [5, 1, 3, 3] instead of [3, 1, 3, 3], " in wide
    assert wide.endswith(" and 4 others")  # of 7 tensors and not the counter


def test_a_head_for_other_classes_gets_a_hint() -> None:
    text = misfit(net(classes=5).state_dict(), net(classes=10))
    assert text.endswith("; the checkpoint has 5 classes, the data set 10")
    assert "the data set" not in misfit(net(width=5).state_dict(), net())
    assert "the data set" not in misfit({"weight": torch.ones(1)}, nn.ParameterDict({"weight": torch.tensor(1.0)}))


def test_fitting_changes_neither_side() -> None:
    onto, state = net(), {f"module.{name}": tensor + 1 for name, tensor in net().state_dict().items()}
    before = {name: tensor.clone() for name, tensor in onto.state_dict().items()}
    fitted = fit(state, onto)
    assert same(dict(onto.state_dict()), before)
    onto.load_state_dict(fitted, strict=True)
    assert all(torch.equal(onto.state_dict()[name], state[f"module.{name}"]) for name in before)


def test_a_net_with_versions_takes_what_is_fitted() -> None:
    from torchvision.models import mnasnet0_5

    onto = mnasnet0_5(weights=None, num_classes=3)
    onto.load_state_dict(fit(dict(onto.state_dict()), onto))


def test_the_hash_is_that_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"one")
    assert file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.hashlib, "file_digest", None)
        assert file_sha256(path) == hashlib.sha256(b"one").hexdigest()  # remembered
    path.write_bytes(b"three")
    assert file_sha256(path) == hashlib.sha256(b"three").hexdigest()
    path.write_bytes(b"seven")
    os.utime(path, ns=(1, 1))
    assert file_sha256(path) == hashlib.sha256(b"seven").hexdigest()
    with pytest.raises(DataError, match="expected a file"):
        file_sha256(tmp_path / "none.pt")


@pytest.mark.parametrize(
    "tensor", [torch.ones(2, 2).to_sparse(), torch.empty(2, 2, device="meta")], ids=["sparse", "meta"]
)
@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_tensors_of_other_kinds_are_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({"weight": tensor}, tmp_path / "odd.pt")
    with pytest.raises(DataError, match=r"expected dense tensors in .* another kind in weight"):
        read_state(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    "weight",
    [
        torch.full((3, 4), 1e300, dtype=torch.float64),
        torch.ones(3, 4, dtype=torch.complex64),
        torch.ones(3, 4, dtype=torch.int8),
    ],
    ids=["overflow", "complex", "integer"],
)
def test_weights_must_stay_what_they_are_in_the_nets_type(weight: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"expected weight as finite torch\.float32"):
        fit({"weight": weight, "bias": torch.zeros(3)}, nn.Linear(4, 3))


def test_old_files_without_counters_fit_a_net_that_has_no_values_yet() -> None:
    """As pre-flight asks: names and shapes on the meta device."""
    state = {name: t for name, t in nn.BatchNorm2d(3).state_dict().items() if not name.endswith("num_batches_tracked")}
    with torch.device("meta"):
        net = nn.BatchNorm2d(3)
    assert fit(state, net).keys() == net.state_dict().keys()
