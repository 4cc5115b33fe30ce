"""Decides which nets are trained several at once: those that support it and become faster by it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.training.stacked import Stack, cross_entropies

MAX_MODELS = 32  # trained at once: a killed process loses the training of all of them (our choice)
# Maximum floating-point operations of a forward pass of one batch, of one model and of all models. On a CPU from
# scripts/bench/stacked.py: the CNN for digits becomes faster at batch 64 (43e6), by 8 models more than by 32; the CNN
# for MNIST (134e6) becomes slower. On CUDA an estimate, not measured: the operations take less time than the launch of
# a step's kernels.
MAX_FLOPS = {"cpu": 50e6, "cuda": 2e9}
MAX_STACK_FLOPS = {"cpu": 4e8, "cuda": 2e10}


def group_size(model: nn.Module, batch: Batch) -> int:
    """How many models to train at once, 0 to 32; 0: training one by one is as fast.

    It is a rule, not a timing, so that the same run gives the same bits. Above MAX_STACK_FLOPS a stack exceeds a CPU's
    caches.

    Args:
        model: one of the models.
        batch: a batch as in training.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with _forked_rng(batch), torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(model)(batch.images)
    flops, device = counter.get_total_flops(), batch.images.device.type
    return 0 if flops > MAX_FLOPS[device] else min(MAX_MODELS, int(MAX_STACK_FLOPS[device]) // max(1, flops))


def is_stackable(models: Sequence[nn.Module], batches: Sequence[Batch]) -> bool:
    """Whether stacked models get the same gradients and buffers as models trained alone, on one batch each.

    False where vmap does not support the net, or would run it model by model, or where the net has state or random
    draws that a stack cannot handle.

    Args:
        models: models of one architecture; they stay as they are.
        batches: one batch per model.
    """
    (single_models, stacked_models), seeds = (copy.deepcopy(list(models)) for _ in range(2)), range(len(models))
    try:
        with _forked_rng(batches[0]), warnings.catch_warnings():
            warnings.filterwarnings("error", message="(?s).*performance drop")
            for seed, model, batch in zip(seeds, single_models, batches, strict=True):
                torch.manual_seed(seed)
                batch.cross_entropy(model.train()(batch.images)).backward()  # type: ignore[no-untyped-call]
            stack = Stack(stacked_models)
            stack.train()
            stack.seed(seeds)
            images = torch.stack([batch.images for batch in batches])
            labels = torch.stack([batch.labels for batch in batches])
            loss = cross_entropies(stack(images), labels, 0.0).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            stack.copy_to_models()
        return all(_equals_single(stack, number, model) for number, model in enumerate(single_models))
    except Exception:  # a user's net may raise anything when stacked, although it can be trained alone
        return False


def _forked_rng(batch: Batch) -> AbstractContextManager[None]:
    """Restore the global generators afterwards: that of the CPU and that of the batch's device."""
    device = batch.images.device
    return torch.random.fork_rng(devices=[] if device.type == "cpu" else [device])


def _equals_single(stack: Stack, number: int, single: nn.Module) -> bool:
    """Whether one model of a stack has the gradients and state of the same model alone, after one backward pass."""
    states = zip(stack.models[number].state_dict().values(), single.state_dict().values(), strict=True)
    stacked = {name: p.grad for name, p in stack.parameters.items() if p.grad is not None}
    grads = {name: p.grad for name, p in single.named_parameters() if p.grad is not None}
    is_close = stacked.keys() == grads.keys() and all(_is_close(stacked[name][number], grads[name]) for name in grads)
    return is_close and all(_is_close(*pair) for pair in states)


def _is_close(tensor: Tensor, expected: Tensor) -> bool:
    return torch.allclose(tensor, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
