"""Which nets are trained several at once: those that can be, and gain by it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.training.stacked import Stack, cross_entropies

MOST = 32  # models at once: with more a kill loses more (our choice)
# The most floating-point operations of a forward pass of one batch: of one model, and of all. On a CPU by
# scripts/bench/stacked.py: the CNN for digits gains at batch 64 (43e6), more so by 8 than by 32; that for MNIST (134e6)
# loses. On CUDA by estimate, not measured: so many take less time than the launch of a step's kernels.
MOST_WORK = {"cpu": 50e6, "cuda": 2e9}
TOGETHER = {"cpu": 4e8, "cuda": 2e10}


def group_size(model: nn.Module, batch: Batch) -> int:
    """How many models to train at once, 0 to 32; 0: one by one is as fast, for a step is arithmetic enough.

    A rule and no timing, so that the same run gives the same bits. Beyond TOGETHER a stack outgrows a CPU's caches.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with _forked_rng(batch), torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(model)(batch.images)
    work, device = counter.get_total_flops(), batch.images.device.type
    return 0 if work > MOST_WORK[device] else min(MOST, int(TOGETHER[device]) // max(1, work))


def is_stackable(models: Sequence[nn.Module], batches: Sequence[Batch]) -> bool:
    """Whether a net can be stacked: models alone and stacked, a batch each: gradients, with dropout, and buffers.

    False where vmap refuses it or would run it model by model, or where it keeps or draws what a stack cannot see.
    The models stay as they are.
    """
    (alone, stacked), seeds = (copy.deepcopy(list(models)) for _ in range(2)), range(len(models))
    try:
        with _forked_rng(batches[0]), warnings.catch_warnings():
            warnings.filterwarnings("error", message="(?s).*performance drop")
            for seed, model, batch in zip(seeds, alone, batches, strict=True):
                torch.manual_seed(seed)
                batch.cross_entropy(model.train()(batch.images)).backward()  # type: ignore[no-untyped-call]
            stack = Stack(stacked)
            stack.train()
            stack.seed(seeds)
            images = torch.stack([batch.images for batch in batches])
            labels = torch.stack([batch.labels for batch in batches])
            loss = cross_entropies(stack(images), labels, 0.0).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            stack.copy_to_models()
        return all(_agree(stack, number, model) for number, model in enumerate(alone))
    except Exception:  # a net of one's own may fail in any way; trained alone it does not
        return False


def _forked_rng(batch: Batch) -> AbstractContextManager[None]:
    """Global generators are put back afterwards: the CPU's, and that of the batch's device."""
    device = batch.images.device
    return torch.random.fork_rng(devices=[] if device.type == "cpu" else [device])


def _agree(stack: Stack, number: int, alone: nn.Module) -> bool:
    """Of one model, after one backward pass."""
    states = zip(stack.models[number].state_dict().values(), alone.state_dict().values(), strict=True)
    stacked = {name: p.grad for name, p in stack.parameters.items() if p.grad is not None}
    grads = {name: p.grad for name, p in alone.named_parameters() if p.grad is not None}
    same = stacked.keys() == grads.keys() and all(_close(stacked[name][number], grads[name]) for name in grads)
    return same and all(_close(*pair) for pair in states)


def _close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
