"""MS-ResNet in PyTorch with three kinds of neurons, which `peers.py` compares with snnjax.

Each is written as its users would do: activations (T, B, C, H, W), one convolution and one
normalization over all time steps at once, one pass of the stem for a static image, and the neurons'
own loop over time. Names are those of `snnjax.weights.torch_state`.

On GPUs (`gpu_peers.py`) the networks run under autocast and with channels last in memory. The
neurons then get (T, B, H, W, C), a view of the same memory, so that nothing is copied.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DECAY, THRESHOLD = 0.25, 0.5


class Fire(torch.autograd.Function):
    """A spike with the rectangular surrogate gradient of width 1."""

    @staticmethod
    def forward(ctx, distance: torch.Tensor) -> torch.Tensor:
        """Returns 1 if the membrane potential is not below the threshold, else 0."""
        ctx.save_for_backward(distance.abs() <= 0.5)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        """Returns the gradient inside the window, 0 outside."""
        return gradient * ctx.saved_tensors[0]


class LoopedNeurons(nn.Module):
    """Neurons with a loop over time, as in the code of the paper's authors."""

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """Returns the spikes of a current (T, ...)."""
        potential = torch.zeros_like(current[0])
        spikes = []
        for x in current:
            potential = DECAY * potential + x
            spike = Fire.apply(potential - THRESHOLD)
            spikes.append(spike)
            potential = potential * (1 - spike.detach())
        return torch.stack(spikes)


class SpikingJellyNeurons(nn.Module):
    """SpikingJelly's neurons, with all time steps in one call."""

    def __init__(self) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron, surrogate

        self.neuron = neuron.LIFNode(
            tau=1 / (1 - DECAY),
            decay_input=False,
            v_threshold=THRESHOLD,
            v_reset=0.0,
            surrogate_function=surrogate.Rect(alpha=1.0),
            detach_reset=True,
            step_mode='m',
        )

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """Returns the spikes of a current (T, ...)."""
        self.neuron.reset()
        return self.neuron(current)


class SnnTorchNeurons(nn.Module):
    """snnTorch's neurons, with one time step per call."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        self.neuron = snntorch.Leaky(
            beta=DECAY, threshold=THRESHOLD, reset_mechanism='zero', spike_grad=Fire.apply
        )

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """Returns the spikes of a current (T, ...)."""
        potential = torch.zeros_like(current[0])
        spikes = []
        for x in current:
            spike, potential = self.neuron(x, potential)
            spikes.append(spike)
        return torch.stack(spikes)


NEURONS: dict[str, Callable[[], nn.Module]] = {
    'pytorch': LoopedNeurons,
    'spikingjelly': SpikingJellyNeurons,
    'snntorch': SnnTorchNeurons,
}


class ChannelsLast(nn.Module):
    """Neurons that get channels last, and return views of channels-last memory."""

    def __init__(self, neurons: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.neurons = neurons()

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """Returns the spikes of a current (T, B, C, H, W)."""
        return self.neurons(current.permute(0, 1, 3, 4, 2)).permute(0, 1, 4, 2, 3)


class ConvNorm(nn.Module):
    """A convolution and batch normalization over time and batch."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, pool: bool) -> None:
        super().__init__()
        self.pool = stride if pool else 1
        stride = 1 if pool else stride
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (T, B, C, H, W) to the same axes with other C, H and W."""
        steps = x.shape[0]
        x = x.flatten(0, 1)
        if self.pool > 1:
            x = functional.avg_pool2d(x, self.pool)
        return self.bn(self.conv(x)).unflatten(0, (steps, -1))


class TripleStem(nn.Module):
    """Three convolutions of size 3 with biases, and one normalization."""

    def __init__(self, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.conv3 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (1, B, C, H, W) to the same axes with other C, H and W."""
        return self.bn(self.conv3(self.conv2(self.conv1(x[0]))))[None]


class Block(nn.Module):
    """The block x + conv(LIF(conv(LIF(x))))."""

    def __init__(self, inputs: int, outputs: int, stride: int, pool: bool, neurons) -> None:
        super().__init__()
        self.neurons1, self.neurons2 = neurons(), neurons()
        self.c1 = ConvNorm(inputs, outputs, 3, stride, False)
        self.c2 = ConvNorm(outputs, outputs, 3, 1, False)
        same = stride == 1 and inputs == outputs
        self.sc = None if same else ConvNorm(inputs, outputs, 1, stride, pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (T, B, C, H, W) to the same axes with other C, H and W."""
        residual = self.c2(self.neurons2(self.c1(self.neurons1(x))))
        return (x if self.sc is None else self.sc(x)) + residual


class MSResNet(nn.Module):
    """The network that `snnjax.create_model` builds with the same options."""

    def __init__(
        self,
        neurons: Callable[[], nn.Module],
        num_steps: int,
        num_classes: int,
        stem: tuple[int, int, int],
        blocks: Sequence[int],
        widths: Sequence[int],
        strides: Sequence[int],
        pool: bool,
    ) -> None:
        super().__init__()
        self.num_steps = num_steps
        size, stride, convolutions = stem
        if convolutions == 1:
            self.stem = ConvNorm(3, widths[0], size, stride, False)
        else:
            self.stem = TripleStem(widths[0], stride)
        layers, inputs = [], widths[0]
        for number, width, stride in zip(blocks, widths, strides, strict=True):
            for i in range(number):
                layers.append(Block(inputs, width, stride if i == 0 else 1, pool, neurons))
                inputs = width
        self.blocks = nn.ModuleList(layers)
        self.neurons = neurons()
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps images (B, C, H, W) to logits (B, classes)."""
        x = self.stem(images[None]).expand(self.num_steps, -1, -1, -1, -1)
        for block in self.blocks:
            x = block(x)
        return self.fc(self.neurons(x).mean((0, 3, 4)))


class TorchProgram:
    """Training steps and inference in PyTorch, with the interface of `peers.Program`.

    Args:
      name: a key of `NEURONS`.
      options: the options of `MSResNet`.
      weights: the arrays by PyTorch name.
      threads: the number of PyTorch's threads on a CPU.
      device: the device, 'cpu' or 'cuda'.
      dtype: the dtype, 'bfloat16' to compute under autocast, or 'float32'.
      channels_last: True if channels are last in memory.
      compiled: True to compile the network and the loss with `torch.compile`.
    """

    def __init__(
        self,
        name: str,
        options: dict,
        weights: dict[str, np.ndarray],
        threads: int,
        *,
        device: str = 'cpu',
        dtype: str = 'float32',
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = True
        neurons = NEURONS[name]
        if channels_last:
            neurons = functools.partial(ChannelsLast, neurons)
        self.model = MSResNet(neurons, **options)
        state = {key: torch.from_numpy(value) for key, value in weights.items()}
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        # Batch counters and snnTorch's constants are not weights.
        if unexpected or any('.conv.' in key or '.bn.weight' in key for key in missing):
            raise ValueError(f'weights do not fit: {missing}, {unexpected}')
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._device = torch.device(device)
        self._dtype = dtype
        self.model.to(self._device, memory_format=self._format)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=0.05,
            momentum=0.9,
            weight_decay=1e-4,
            fused=True if device == 'cuda' else None,
        )
        self._loss = torch.compile(self._loss_of) if compiled else self._loss_of

    def put(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Takes images (B, H, W, C) and labels (B,)."""
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        self.images = pixels.to(self._device, memory_format=self._format)
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(self._device)

    def train(self) -> float:
        """Takes a training step, and returns the loss before the update."""
        return self.start_step().item()

    def start_step(self) -> torch.Tensor:
        """Starts a step without waiting for it."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @torch.inference_mode()
    def infer(self) -> float:
        """Returns the loss of the batch, normalized by running statistics."""
        self.model.eval()
        return self._loss().item()

    def wait(self) -> None:
        """Waits until all started steps are done."""
        if self._device.type == 'cuda':
            torch.cuda.synchronize()

    def peak_bytes(self) -> int:
        """Returns the peak bytes that PyTorch held in tensors on the GPU; 0 on a CPU."""
        return torch.cuda.max_memory_allocated() if self._device.type == 'cuda' else 0

    def describe(self) -> dict[str, Any]:
        """Returns the implementation of SpikingJelly's neurons, with the reason for the choice."""
        if self._device.type != 'cuda' or not importlib.util.find_spec('spikingjelly'):
            return {}
        from spikingjelly.activation_based import functional as of_neurons

        return dict(of_neurons.neuron_implementation('lif', self._device))

    def _loss_of(self) -> torch.Tensor:
        autocast = torch.autocast(self._device.type, torch.bfloat16)
        with autocast if self._dtype == 'bfloat16' else contextlib.nullcontext():
            return functional.cross_entropy(self.model(self.images), self.labels)
