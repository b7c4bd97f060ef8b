"""Runs the three networks of ``docs/howto/coming_from.md`` with the same weights and inputs.

    pip install '.[bench]'
    python benchmarks/same_network.py

Prints, for SpikingJelly and snnTorch, the number of spikes that equal those of snnjax and the
largest difference of the gradient with respect to the first weight matrix.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

PAGE = Path(__file__).parents[1] / 'docs/howto/coming_from.md'
BATCH, STEPS, INPUTS, HIDDEN, CLASSES = 16, 8, 20, 32, 5


def networks() -> dict[str, Any]:
    """Returns the classes that the page's code blocks define, by their names."""
    found: dict[str, Any] = {}
    for code in re.findall(r'^```python\n(.*?)^```$', PAGE.read_text(), re.DOTALL | re.MULTILINE):
        if name := re.search(r'^class (\w+)', code, re.MULTILINE):
            names = {'__name__': name[1]}
            exec(compile(code, str(PAGE), 'exec'), names)  # noqa: S102
            found[name[1]] = names[name[1]]
    return found


def main() -> None:
    """Prints a line for each of the other libraries."""
    classes = networks()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, STEPS, INPUTS)).astype(np.float32)
    weights = [
        rng.normal(size=shape).astype(np.float32) / 6
        for shape in ((INPUTS, HIDDEN), (HIDDEN, CLASSES))
    ]
    labels = rng.integers(0, CLASSES, BATCH)

    def loss(params: Any) -> Any:
        logits, spikes = classes['SnnjaxNet']().apply({'params': params}, x)
        return -jax.nn.log_softmax(logits)[jnp.arange(BATCH), labels].mean(), spikes

    params = {
        f'Dense_{i}': {'kernel': kernel, 'bias': np.zeros(kernel.shape[1], np.float32)}
        for i, kernel in enumerate(weights)
    }
    (_, spikes), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    ours = np.asarray(gradient['Dense_0']['kernel'])
    print(f'largest entry of the gradient: {abs(ours).max():.3f}')
    for name in ('SpikingJellyNet', 'SnnTorchNet'):
        network = classes[name]()
        with torch.no_grad():
            for module, kernel in zip((network.fc1, network.fc2), weights, strict=True):
                module.weight.copy_(torch.from_numpy(kernel.T))
                module.bias.zero_()
        logits, theirs = network(torch.from_numpy(x).transpose(0, 1))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
        equal = (theirs.detach().numpy().swapaxes(0, 1) == np.asarray(spikes)).sum()
        difference = abs(network.fc1.weight.grad.numpy().T - ours).max()
        print(f'{name}: {equal:,} of {spikes.size:,} spikes equal, gradient off {difference:.1g}')


if __name__ == '__main__':
    main()
