"""A step in PyTorch as its users would write it: eager or compiled, on the same device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.implementations.prepared import Prepared
from benchmarks.implementations.torch_loss import (
    Loss,
    jacobian_of_batch,
    jacobian_of_each,
    make_loss,
)
from benchmarks.implementations.torch_models import build, load_params
from benchmarks.measuring.timing import seconds_of


def prepare(
    config: ml_collections.ConfigDict, x: jax.Array, params: Any, compiled: bool = False
) -> Prepared:
    """Prepares value and gradient of the loss on x [B, H, W, C], with the library's weights.

    `flops` is PyTorch's count of matrix products and convolutions, which includes their padding,
    plus factorisations and triangular solves as in `flops.count_flops`. `peak_bytes` is the most
    memory that is allocated at any time: on a CPU the parameters, the batch and the profiler's
    record of PyTorch's allocations and releases; on CUDA PyTorch's own count. Buffers inside
    libraries that PyTorch calls are not included.

    Args:
        config: a resolved config.
        x: the batch.
        params: the weights, as the library has them.
        compiled: whether the loss is compiled with `torch.compile`. `flops` is then that of the
            same loss before it is compiled, and `compile_seconds` includes a step.
    """
    device = _device()
    fewer_bits = config.train.matmul_precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = fewer_bits
    networks = build(config, x.shape[1:])
    load_params(networks, params)
    for network in networks:
        network.to(device, memory_format=torch.channels_last)  # a third less time on a CPU
    batch = torch.tensor(np.asarray(x), device=device).permute(0, 3, 1, 2)
    eager = make_loss(config, networks, jacobian_of_batch if compiled else jacobian_of_each)
    parameters = networks.parameters()

    def step(loss: Loss) -> Any:
        noise = torch.randn(len(batch), config.model.latent_size, device=device)
        value = loss(batch, noise)
        return value.detach(), torch.autograd.grad(value, parameters)

    flops = _flops(lambda: step(eager))
    resident = sum(tensor.nbytes for tensor in (*parameters, batch))
    loss = _compile(eager) if compiled else eager

    def call() -> Any:
        results = step(loss)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return results

    try:
        compile_seconds = seconds_of(call) if compiled else None
    except Exception as error:  # of many kinds: it does not know all that PyTorch can do
        note = f"torch.compile: {str(error).partition(chr(10))[0]}"
        return Prepared(call, flops, resident, compile_seconds=None, note=note, runs=False)
    peak = _peak_on_cuda(call) if device.type == "cuda" else resident + _peak_on_cpu(call)
    return Prepared(call, flops, peak, compile_seconds, note=_note(device))


def _compile(loss: Loss) -> Loss:
    torch.compiler.config.force_disable_caches = True  # to time the compiler itself
    # The tangents of biases are PyTorch's immutable zeros, which its compiler would overwrite.
    return torch.compile(loss, options={"allow_buffer_reuse": False})


def _device() -> torch.device:
    on_gpu = jax.devices()[0].platform == "gpu" and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def _flops(step: Callable[[], Any]) -> int:
    factorisations = {
        torch.ops.aten.linalg_cholesky_ex: _cholesky,
        torch.ops.aten.linalg_solve_triangular: _triangular_solve,
    }
    with FlopCounterMode(display=False, custom_mapping=factorisations) as counter:
        step()
    return counter.get_total_flops()


def _cholesky(shape: tuple[int, ...], *arguments: Any, **others: Any) -> int:
    return math.prod(shape) * shape[-1] // 3


def _triangular_solve(first: Any, second: Any, *arguments: Any, **others: Any) -> int:
    return math.prod(second) * first[-1]


def _peak_on_cpu(step: Callable[[], Any]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = recorded.profiler.kineto_results.events()
    records = [event for event in events if event.name() == "[memory]"]
    live = np.cumsum([event.nbytes() for event in sorted(records, key=lambda e: e.start_ns())])
    return int(live.max(initial=0))


def _peak_on_cuda(call: Callable[[], Any]) -> int:
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated()


def _note(device: torch.device) -> str:
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    products = "TF32" if torch.backends.cuda.matmul.allow_tf32 else "float32"
    convolutions = "TF32" if torch.backends.cudnn.allow_tf32 else "float32"
    return f"matrix products in {products}, convolutions in {convolutions}"
