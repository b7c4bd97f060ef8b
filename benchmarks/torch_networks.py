"""MS-ResNet in PyTorch, with neurons of three kinds: what `peers.py` measures beside snnjax.

Each is as its users write it: activations (T, B, C, H, W), one convolution and one normalisation
over all time steps at once, the stem once for an image that stands still, and the neurons' own way
through time. Names are those of `snnjax.weights.torch_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DECAY, THRESHOLD = 0.25, 0.5


class Fire(torch.autograd.Function):
    """A spike, and the rectangular surrogate gradient of width 1."""

    @staticmethod
    def forward(ctx, distance: torch.Tensor) -> torch.Tensor:
        """1 where the membrane potential is not below the threshold."""
        ctx.save_for_backward(distance.abs() <= 0.5)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient inside of the window."""
        return gradient * ctx.saved_tensors[0]


class LoopedNeurons(nn.Module):
    """A loop over time, as in the code of the paper's authors."""

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """Spikes of a current (T, ...)."""
        potential = torch.zeros_like(current[0])
        spikes = []
        for x in current:
            potential = DECAY * potential + x
            spike = Fire.apply(potential - THRESHOLD)
            spikes.append(spike)
            potential = potential * (1 - spike.detach())
        return torch.stack(spikes)


class SpikingJellyNeurons(nn.Module):
    """SpikingJelly's neurons, all time steps in one call."""

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
        """Spikes of a current (T, ...)."""
        self.neuron.reset()
        return self.neuron(current)


class SnnTorchNeurons(nn.Module):
    """snnTorch's neurons, one time step a call."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        self.neuron = snntorch.Leaky(
            beta=DECAY, threshold=THRESHOLD, reset_mechanism='zero', spike_grad=Fire.apply
        )

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """Spikes of a current (T, ...)."""
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


class ConvNorm(nn.Module):
    """Convolution and batch normalisation over time and batch."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, pool: bool) -> None:
        super().__init__()
        self.pool = stride if pool else 1
        stride = 1 if pool else stride
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(T, B, C, H, W) -> the same with other C, H, W."""
        steps = x.shape[0]
        x = x.flatten(0, 1)
        if self.pool > 1:
            x = functional.avg_pool2d(x, self.pool)
        return self.bn(self.conv(x)).unflatten(0, (steps, -1))


class Block(nn.Module):
    """x + conv(LIF(conv(LIF(x))))."""

    def __init__(self, inputs: int, outputs: int, stride: int, pool: bool, neurons) -> None:
        super().__init__()
        self.neurons1, self.neurons2 = neurons(), neurons()
        self.c1 = ConvNorm(inputs, outputs, 3, stride, False)
        self.c2 = ConvNorm(outputs, outputs, 3, 1, False)
        same = stride == 1 and inputs == outputs
        self.sc = None if same else ConvNorm(inputs, outputs, 1, stride, pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(T, B, C, H, W) -> the same with other C, H, W."""
        residual = self.c2(self.neurons2(self.c1(self.neurons1(x))))
        return (x if self.sc is None else self.sc(x)) + residual


class MSResNet(nn.Module):
    """The network that `snnjax.create_model` makes with the same options."""

    def __init__(
        self,
        neurons: Callable[[], nn.Module],
        num_steps: int,
        num_classes: int,
        stem: tuple[int, int],
        blocks: Sequence[int],
        widths: Sequence[int],
        strides: Sequence[int],
        pool: bool,
    ) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.stem = ConvNorm(3, widths[0], *stem, False)
        layers, inputs = [], widths[0]
        for number, width, stride in zip(blocks, widths, strides, strict=True):
            for i in range(number):
                layers.append(Block(inputs, width, stride if i == 0 else 1, pool, neurons))
                inputs = width
        self.blocks = nn.ModuleList(layers)
        self.neurons = neurons()
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> logits."""
        x = self.stem(images[None]).expand(self.num_steps, -1, -1, -1, -1)
        for block in self.blocks:
            x = block(x)
        return self.fc(self.neurons(x).mean((0, 3, 4)))


class TorchProgram:
    """Training steps and inference; see `peers.Program`."""

    def __init__(self, name: str, options: dict, weights: dict[str, np.ndarray], threads: int):
        torch.set_num_threads(threads)
        self.model = MSResNet(NEURONS[name], **options)
        state = {key: torch.from_numpy(value) for key, value in weights.items()}
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        # Counters of batches, and snnTorch's constants, are no weights.
        if unexpected or any('.conv.' in key or '.bn.weight' in key for key in missing):
            raise ValueError(f'weights do not fit: {missing}, {unexpected}')
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4
        )

    def put(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Takes images (B, H, W, C) and labels (B,)."""
        self.images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        self.labels = torch.from_numpy(labels.astype(np.int64))

    def train(self) -> float:
        """One step; the loss before it."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def infer(self) -> float:
        """The loss of the batch, normalised by running statistics."""
        self.model.eval()
        return functional.cross_entropy(self.model(self.images), self.labels).item()
