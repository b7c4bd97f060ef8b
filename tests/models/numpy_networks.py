"""Published networks written down in NumPy from their equations, with gradients of their own.

Nothing of the package is used here. An operation computes its value and knows how to pull a
cotangent back to its inputs; `backward` goes through all of them, last first. Activations are
(B, T, H, W, C), float64; parameters are looked up by the names that the package gives them. A
network gives the logits of every time step, (B, T, classes), whose mean over time is its answer.
"""

import itertools
import math
from typing import ClassVar

import numpy as np


class Node:
    """An array, and the gradient of the loss by it."""

    tape: ClassVar[list] = []

    def __init__(self, value, inputs=(), pull=None):
        self.value, self.inputs, self.pull = value, inputs, pull
        self.gradient = np.zeros_like(value)
        Node.tape.append(self)


def backward(output, cotangent):
    """Fills in the gradients of all nodes since the last call."""
    output.gradient = cotangent
    while Node.tape:
        node = Node.tape.pop()
        if node.pull is not None:
            for source, gradient in zip(node.inputs, node.pull(node.gradient), strict=True):
                source.gradient = source.gradient + gradient


def add(a, b):
    return Node(a.value + b.value, (a, b), lambda g: (g, g))


def logical_and(a, b):
    return Node(a.value * b.value, (a, b), lambda g: (g * b.value, g * a.value))


def and_not(a, b):
    return Node(a.value * (1 - b.value), (a, b), lambda g: (g * (1 - b.value), -g * a.value))


def repeat(x, num_steps):
    """(B, 1, ...) -> (B, T, ...)."""
    value = np.repeat(x.value, num_steps, axis=1)
    return Node(value, (x,), lambda g: (g.sum(1, keepdims=True),))


def mean(x, axes, keepdims=False):
    value = x.value.mean(axes, keepdims=keepdims)
    count = x.value.size // value.size

    def pull(g):
        g = g if keepdims else np.expand_dims(g, axes)
        return (np.broadcast_to(g / count, x.value.shape),)

    return Node(value, (x,), pull)


def reshape(x, *shape):
    return Node(x.value.reshape(shape), (x,), lambda g: (g.reshape(x.value.shape),))


def dense(x, kernel, bias=None):
    def pull(g):
        rows, columns = x.value.reshape(-1, x.value.shape[-1]), g.reshape(-1, g.shape[-1])
        of_bias = () if bias is None else (columns.sum(0),)
        return g @ kernel.value.T, rows.T @ columns, *of_bias

    value = x.value @ kernel.value + (0 if bias is None else bias.value)
    return Node(value, (x, kernel) if bias is None else (x, kernel, bias), pull)


def convolution(x, kernel, stride):
    """A kernel (size, size, in, out) over pixels, with zeros around that keep the size."""
    size = kernel.value.shape[0]
    margin = size // 2
    pads = ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0))
    padded = np.pad(x.value, pads)
    height, width = (-(-length // stride) for length in x.value.shape[2:4])

    def seen_from(array, i, j):
        rows = slice(i, i + stride * (height - 1) + 1, stride)
        return array[:, :, rows, slice(j, j + stride * (width - 1) + 1, stride)]

    places = list(itertools.product(range(size), repeat=2))
    value = sum(seen_from(padded, i, j) @ kernel.value[i, j] for i, j in places)

    def pull(g):
        of_padded, of_kernel = np.zeros_like(padded), np.zeros_like(kernel.value)
        for i, j in places:
            seen_from(of_padded, i, j)[...] += g @ kernel.value[i, j].T
            of_kernel[i, j] = np.einsum('bthwi,bthwo->io', seen_from(padded, i, j), g)
        inside = slice(margin, -margin or None)
        return of_padded[:, :, inside, inside], of_kernel

    return Node(value, (x, kernel), pull)


def normalization(x, scale, bias, gain=1.0, epsilon=1e-5):
    """``scale * (gain * x_hat) + bias``, by the statistics of each channel."""
    axes = tuple(range(x.value.ndim - 1))
    centered = x.value - x.value.mean(axes)
    deviation = np.sqrt((centered**2).mean(axes) + epsilon)
    x_hat = centered / deviation

    def pull(g):
        of_hat = g * scale.value * gain
        of_x = of_hat - of_hat.mean(axes) - x_hat * (of_hat * x_hat).mean(axes)
        return of_x / deviation, (g * gain * x_hat).sum(axes), g.sum(axes)

    return Node(scale.value * (gain * x_hat) + bias.value, (x, scale, bias), pull)


def step(distance):
    return (distance >= 0) * 1.0


def rectangular(distance):
    return (np.abs(distance) <= 0.5) * 1.0


def arctan(distance, alpha=2.0):
    return alpha / 2 / (1 + (math.pi / 2 * alpha * distance) ** 2)


def neurons(x, *, leak, threshold, reset, surrogate, detached, spike=step):
    """``u[t] = leak h[t-1] + x[t]``, spikes where ``u >= threshold``, ``h = reset`` after them.

    With a ``spike`` whose derivative the surrogate is, and not detached, the gradient is exact.
    """
    u, o = np.zeros_like(x.value), np.zeros_like(x.value)
    h = np.zeros_like(u[:, 0])
    for t in range(u.shape[1]):
        u[:, t] = leak * h + x.value[:, t]
        o[:, t] = spike(u[:, t] - threshold)
        h = o[:, t] * reset + (1 - o[:, t]) * u[:, t]

    def pull(g):
        of_x, of_h = np.zeros_like(u), np.zeros_like(u[:, 0])
        for t in reversed(range(u.shape[1])):
            of_o = g[:, t] + (0 if detached else of_h * (reset - u[:, t]))
            of_u = of_o * surrogate(u[:, t] - threshold) + of_h * (1 - o[:, t])
            of_x[:, t], of_h = of_u, leak * of_u
        return (of_x,)

    return Node(o, (x,), pull)


def plif(x, w, *, detached=True, spike=step):
    """``v += (x - v) k`` with ``k = sigmoid(w)``, a threshold of 1, and a reset to 0."""
    k = 1 / (1 + np.exp(-w.value))
    before, charged, o = (np.zeros_like(x.value) for _ in range(3))
    v = np.zeros_like(charged[:, 0])
    for t in range(charged.shape[1]):
        before[:, t] = v
        charged[:, t] = v + (x.value[:, t] - v) * k
        o[:, t] = spike(charged[:, t] - 1)
        v = (1 - o[:, t]) * charged[:, t]

    def pull(g):
        of_x, of_v, of_k = np.zeros_like(charged), np.zeros_like(charged[:, 0]), 0.0
        for t in reversed(range(charged.shape[1])):
            of_o = g[:, t] - (0 if detached else of_v * charged[:, t])
            of_charged = of_o * arctan(charged[:, t] - 1) + of_v * (1 - o[:, t])
            of_k += (of_charged * (x.value[:, t] - before[:, t])).sum()
            of_x[:, t], of_v = of_charged * k, of_charged * (1 - k)
        return of_x, of_k * k * (1 - k)

    return Node(o, (x, w), pull)


def average_pool(x, size):
    b, t, h, w, c = x.value.shape
    windows = reshape(x, b, t, h // size, size, w // size, size, c)
    return mean(windows, (3, 5))


def max_pool(x, size, stride, margin):
    """The largest of each window, with zeros and ones in it mostly one of several.

    The gradient goes to the first of them, row by row, and to no other: that is what XLA's
    select-and-scatter does, and what the package is held to beside it in ``test_layers.py``.
    """
    pads = ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0))
    padded = np.pad(x.value, pads, constant_values=-np.inf)
    height, width = ((length - size) // stride + 1 for length in padded.shape[2:4])
    value = np.zeros((*x.value.shape[:2], height, width, x.value.shape[-1]))
    chosen = {}
    for i, j in itertools.product(range(height), range(width)):
        window = padded[:, :, stride * i : stride * i + size, stride * j : stride * j + size]
        window = window.reshape(*window.shape[:2], size * size, -1)
        chosen[i, j] = window.argmax(2)
        value[:, :, i, j] = window.max(2)

    def pull(g):
        of_padded = np.zeros_like(padded)
        for (i, j), first in chosen.items():
            for place, (row, column) in enumerate(itertools.product(range(size), repeat=2)):
                share = g[:, :, i, j] * (first == place)
                of_padded[:, :, stride * i + row, stride * j + column] += share
        inside = slice(margin, -margin or None)
        return (of_padded[:, :, inside, inside],)

    return Node(value, (x,), pull)


def attention(x, w1, b1, w2, b2):
    """Time steps weighted by what a layer of two makes of their means."""
    hidden = dense(mean(x, (2, 3, 4)), w1, b1)
    positive = hidden.value > 0
    hidden = Node(hidden.value * positive, (hidden,), lambda g: (g * positive,))
    scores = dense(hidden, w2, b2)
    weight = 1 / (1 + np.exp(-scores.value))
    weights = Node(weight, (scores,), lambda g: (g * weight * (1 - weight),))

    def pull(g):
        return g * weight[:, :, None, None, None], (g * x.value).sum((2, 3, 4))

    return Node(x.value * weight[:, :, None, None, None], (x, weights), pull)


class Parameters(dict):
    """Nodes of a network's parameters by name, ``stem/conv/kernel``, and what is made of them."""

    def norm(self, x, name, gain=1.0):
        return normalization(x, self[f'{name}/scale'], self[f'{name}/bias'], gain)

    def conv_norm(self, x, name, stride=1, gain=1.0):
        return self.norm(convolution(x, self[f'{name}/conv/kernel'], stride), f'{name}/norm', gain)

    def attend(self, x, name):
        names = ('squeeze/kernel', 'squeeze/bias', 'excite/kernel', 'excite/bias')
        return attention(x, *(self[f'{name}/{leaf}'] for leaf in names))

    def classify(self, x):
        return dense(mean(x, (2, 3)), self['classifier/kernel'], self['classifier/bias'])


def _strides(bottleneck, stride):
    return (1, stride, 1) if bottleneck else (stride, 1)


def paper_network(p, x, num_steps, *, blocks, kind='ms', stem_stride=1, pooled=False):
    """The paper's networks: V_th = 0.5, decay 0.25, a hard reset that passes no gradient.

    ``kind`` is the order in a block: 'ms' for MS-ResNet; 'vanilla', 'plain' without shortcuts,
    'wo_lif' without neurons after the additions. ``pooled`` shortcuts average 2x2 windows, then
    have a convolution without a stride.
    """

    def lif(x):
        return neurons(x, leak=0.25, threshold=0.5, reset=0.0, surrogate=rectangular, detached=True)

    fires_after = kind in ('vanilla', 'plain')
    x = repeat(p.conv_norm(x, 'stem', stem_stride), num_steps)
    x = lif(x) if fires_after else x
    for name, stride in blocks.items():
        residual = p.conv_norm(lif(x) if kind == 'ms' else x, f'{name}/conv1', stride)
        residual = p.conv_norm(lif(residual), f'{name}/conv2')
        if f'{name}/shortcut/conv/kernel' in p:
            of_pool = pooled and stride == 2
            x = average_pool(x, 2) if of_pool else x
            x = p.conv_norm(x, f'{name}/shortcut', 1 if of_pool else stride)
        x = residual if kind == 'plain' else add(x, residual)
        x = lif(x) if fires_after else x
    return p.classify(x if fires_after else lif(x))


def tdbn_network(p, x, num_steps, *, blocks, stem_stride=1, bottleneck=False, hidden=False):
    """Zheng et al. 2021: LIF(conv-tdBN-LIF-...-tdBN + shortcut), V_th = 0.5, decay 0.25."""

    def lif(x):
        return neurons(x, leak=0.25, threshold=0.5, reset=0.0, surrogate=rectangular, detached=True)

    x = lif(repeat(p.conv_norm(x, 'stem', stem_stride, gain=0.5), num_steps))
    for name, stride in blocks.items():
        residual = x
        strides = _strides(bottleneck, stride)
        for i, s in enumerate(strides, start=1):
            last = i == len(strides)
            gain = 0.5 / math.sqrt(2) if last else 0.5
            residual = p.conv_norm(residual, f'{name}/conv{i}', s, gain)
            residual = residual if last else lif(residual)
        if f'{name}/shortcut/conv/kernel' in p:
            x = p.conv_norm(x, f'{name}/shortcut', stride, 0.5 / math.sqrt(2))
        x = lif(add(x, residual))
    if hidden:
        x = lif(dense(mean(x, (2, 3), keepdims=True), p['dense1/kernel'], p['dense1/bias']))
    return p.classify(x)


def sew_network(p, x, num_steps, *, blocks, connect, bottleneck=False):
    """Fang et al. 2021: integrate-and-fire neurons end both branches, then ``connect``."""

    def fire(x):
        return neurons(x, leak=1.0, threshold=1.0, reset=0.0, surrogate=arctan, detached=True)

    x = max_pool(fire(repeat(p.conv_norm(x, 'stem', 2), num_steps)), 3, 2, 1)
    for name, stride in blocks.items():
        residual = x
        for i, s in enumerate(_strides(bottleneck, stride), start=1):
            residual = fire(p.conv_norm(residual, f'{name}/conv{i}', s))
        if f'{name}/shortcut/conv/kernel' in p:
            x = fire(p.conv_norm(x, f'{name}/shortcut', stride))
        x = connect(x, residual)
    return p.classify(x)


def plif_network(p, x, num_steps, *, pools):
    """Fang et al. 2020: convolutions, two fully connected layers, and ten voters a class."""
    b = len(x.value)

    def fire(x, name):
        # The package learns the logit of 1 - k.
        logit = p[f'{name}/decay_logit']
        return plif(x, Node(-logit.value, (logit,), lambda g: (-g,)))

    for i, pool in enumerate(pools, start=1):
        x = p.conv_norm(x, f'conv{i}')
        x = fire(repeat(x, num_steps) if i == 1 else x, f'spike{i}')
        x = max_pool(x, pool, pool, 0) if pool > 1 else x
    x = reshape(x, b, num_steps, 1, 1, -1)
    for i in (1, 2):
        x = fire(dense(x, p[f'dense{i}/kernel']), f'dense_spike{i}')
    return mean(reshape(x, b, num_steps, -1, 10), (3,))


def ta_network(p, x, num_steps, *, pools):
    """Yao et al. 2021: currents are pooled, then weighted by time; V_th = decay = 0.3."""
    b = len(x.value)

    def fire(x):
        return neurons(x, leak=0.3, threshold=0.3, reset=0.3, surrogate=rectangular, detached=False)

    for i, pool in enumerate(pools, start=1):
        x = average_pool(p.conv_norm(x, f'conv{i}'), pool)
        x = fire(p.attend(x, f'attention{i}'))
    x = reshape(x, b, num_steps, 1, 1, -1)
    for i in (1, 2):
        x = p.norm(dense(x, p[f'dense{i}/kernel']), f'dense_norm{i}')
        x = fire(p.attend(x, f'dense_attention{i}'))
    return mean(x, (2, 3))
