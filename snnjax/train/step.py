"""The training step and the evaluation step, as functions of arrays."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NotRequired, Protocol, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from snnjax.data import Dataset
from snnjax.models import Network, mean_firing_rate
from snnjax.train import finite, metrics
from snnjax.train.gradients import norms_by_block
from snnjax.train.losses import Loss, cross_entropy
from snnjax.train.sharding import parameter_shardings, replicated, split_batch
from snnjax.train.state import TrainState, key_of_seed


class Batch(TypedDict):
    """The arrays of a batch of B images; some of them are optional.

    Attributes:
      image: the stored pixels, of shape (B, H, W, C) or (B, T, H, W, C).
      label: the classes, integers of shape (B,).
      mask: an array of shape (B,), false for images that do not count. Without it, all count.
      mixed_label: the second classes of mixed images, of shape (B,); see
        `snnjax.data.transforms.mixing`.
      label_weight: the shares of ``label`` in mixed images, of shape (B,).
      stop: an array of shape (B,), true if the process of the image was asked to stop.
      save: an array of shape (B,), true if a checkpoint is due by the clock of that process.
    """

    image: jax.Array
    label: jax.Array
    mask: NotRequired[jax.Array]
    mixed_label: NotRequired[jax.Array]
    label_weight: NotRequired[jax.Array]
    stop: NotRequired[jax.Array]
    save: NotRequired[jax.Array]


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """The options of a training step.

    Attributes:
      loss: the loss of an image.
      label_smoothing: the probability that is spread over all classes.
      microbatches: the number of parts of a batch that are computed one after the other. The
        gradient is that of the mean over all images; each part updates the running statistics.
      ema_decay: the share of the average that each step keeps; 0 for no average.
      gradient_norms: true to add the gradient norm of each block to the sums.
      keep_finite: true to let a step with non-finite numbers change only the step counters, so that
        training can continue.
      seed: the seed of dropout.
    """

    loss: Loss = cross_entropy
    label_smoothing: float = 0.0
    microbatches: int = 1
    ema_decay: float = 0.0
    gradient_norms: bool = False
    keep_finite: bool = False
    seed: int = 0


# With more classes than these, evaluation also computes the top-5 accuracy.
_FEW_CLASSES = 10

# Folded into the key of the seed, so that dropout and initial parameters are independent.
_DROPOUT = 0x64726F70


class Statistics(Protocol):
    """The mean and standard deviation of the pixels by channel, as of `snnjax.data.Dataset`."""

    @property
    def mean(self) -> Sequence[float]: ...  # noqa: D102
    @property
    def std(self) -> Sequence[float]: ...  # noqa: D102


def normalize(images: jax.Array, of: Statistics) -> jax.Array:
    """Normalizes stored pixels (B, ..., C) to float32 of mean 0 and deviation 1 by channel."""
    of_channels = (1,) * (images.ndim - 1) + (-1,)
    mean, std = (np.asarray(s, np.float32).reshape(of_channels) for s in (of.mean, of.std))
    return (images.astype(jnp.float32) - mean) / std


def make_train_step(
    model: Network,
    optimizer: optax.GradientTransformation,
    dataset: Dataset,
    mesh: Mesh,
    options: StepOptions,
) -> Callable[[TrainState, Batch], tuple[TrainState, metrics.Sums]]:
    """Builds the training step, a function ``(state, batch) -> (state, sums)``.

    `snnjax.data.pipeline.TrainingBatches` makes the batches. The loss is averaged over the images.
    The loss in the metrics excludes the L2 penalty, which the optimizer applies. Dropout depends on
    the seed and the step.

    If the loss, the statistics, the parameters or the optimizer state are not finite after the
    step, the sum ``fault`` identifies the first of them, see `snnjax.train.finite.places`.

    Args:
      model: the network.
      optimizer: the optimizer of the parameters.
      dataset: the data set, for the pixel statistics and the number of classes.
      mesh: the devices, over which batches are divided, and parameters if ``fsdp`` is above 1.
      options: the options of the step.
    """
    loss, microbatches = options.loss, options.microbatches
    model = loss.model(model)

    def loss_of(
        params: Any, batch_stats: Any, batch: Batch, key: jax.Array, share: jax.Array | float
    ) -> tuple[jax.Array, tuple]:
        """Returns the sum of the losses times ``share``, the weight of an image in the mean."""
        images = normalize(batch['image'], dataset)
        mask = batch.get('mask')
        if mask is not None:
            # A photo that could not be decoded is the mean image, also for the batch statistics.
            images = jnp.where(jnp.expand_dims(mask, range(1, images.ndim)), images, 0)
        logits, updates = model.apply(
            {'params': params, 'batch_stats': batch_stats},
            images,
            train=True,
            mutable=['batch_stats', 'firing_rates'],
            rngs={'dropout': key},
        )
        targets = _targets(batch, dataset.num_classes)
        losses = loss.of(logits, optax.smooth_labels(targets, options.label_smoothing))
        sums = metrics.batch_sums(
            losses=losses,
            logits=loss.mean_logits(logits),
            labels=batch['label'],
            firing_rates=mean_firing_rate(updates['firing_rates']),
            mask=mask,
        )
        stop, save = batch.get('stop'), batch.get('save')
        if stop is not None and save is not None:
            sums |= {'stop': jnp.sum(stop), 'save': jnp.sum(save)}
        return share * sums['loss'], (updates.get('batch_stats', {}), sums)

    def gradient_of(
        state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[Any, tuple[Any, metrics.Sums]]:
        gradient = jax.grad(loss_of, has_aux=True)
        images: Any = len(batch['label'])
        mask = batch.get('mask')
        if mask is not None:
            images = jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1)
        share = 1 / images
        if microbatches == 1:
            return gradient(state.params, state.batch_stats, batch, key, share)

        parts = split_batch(batch, microbatches, mesh), jax.random.split(key, microbatches)

        def add(total: tuple, part: tuple[Batch, jax.Array]) -> tuple[tuple, None]:
            batch_stats, results = total
            part_gradient, (batch_stats, sums) = gradient(state.params, batch_stats, *part, share)
            return (batch_stats, jax.tree.map(jnp.add, results, (part_gradient, sums))), None

        one = jax.tree.map(lambda x: x[0], parts)
        shape, (_, sums_shape) = jax.eval_shape(
            gradient, state.params, state.batch_stats, *one, share
        )
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shape, sums_shape))
        (batch_stats, (total, sums)), _ = jax.lax.scan(add, (state.batch_stats, zeros), parts)
        return total, (batch_stats, sums)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, metrics.Sums]:
        of_dropout = jax.random.fold_in(key_of_seed(options.seed), _DROPOUT)
        key = jax.random.fold_in(of_dropout, state.step)
        # Gather the parameters and the gradient first. Otherwise the partitioner moves activations
        # to the devices that hold parts of the parameters.
        whole = state._replace(params=_gather(state.params, mesh))
        gradient, (batch_stats, sums) = gradient_of(whole, batch, key)
        gradient = jax.lax.with_sharding_constraint(
            _gather(gradient, mesh), parameter_shardings(gradient, mesh)
        )
        if options.gradient_norms:
            sums['gradient_norms'] = metrics.weighted(norms_by_block(gradient), sums['images'])
        # Adam takes powers of floats with its integer count of steps.
        with jax.numpy_dtype_promotion('standard'):
            updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new = TrainState(state.step + 1, params, batch_stats, opt_state)
        if options.ema_decay:
            average = optax.incremental_update(new.variables, state.average, 1 - options.ema_decay)
            new = new._replace(average=average)
        fault = finite.first_fault(*jax.lax.optimization_barrier((new, sums['loss'])))
        if options.keep_finite:
            new = finite.keep_if(fault == 0, new, state)
        sums['fault'] = fault
        return new, sums

    return train_step


def repeat_step(
    train_step: Callable[[TrainState, Batch], tuple[TrainState, metrics.Sums]],
    of_state: TrainState,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, metrics.Sums]]:
    """Returns a function that takes several training steps in one loop.

    The function is ``(state, batches, count) -> (state, sums)``. The arrays of ``batches`` are (K,
    B, ...). The first ``count`` batches are trained on, so that one program serves for up to K
    steps. The sums have the shape (K,); those of unused batches are 0.

    Args:
      train_step: the function of `make_train_step`.
      of_state: the shardings of the state.
    """
    # Traced once, for its shapes and for the loop.
    step = jax.jit(train_step)

    def train_steps(
        state: TrainState, batches: Batch, count: jax.Array
    ) -> tuple[TrainState, metrics.Sums]:
        def batch_at(number: jax.Array | int) -> Batch:
            return jax.tree.map(
                lambda x: jax.lax.dynamic_index_in_dim(x, number, keepdims=False), batches
            )

        def take(number: jax.Array, carry: tuple) -> tuple[TrainState, metrics.Sums]:
            state, all_sums = carry
            state, sums = step(state, batch_at(number))
            all_sums = jax.tree.map(lambda x, one: x.at[number].set(one), all_sums, sums)
            return jax.lax.with_sharding_constraint(state, of_state), all_sums

        _, sums = jax.eval_shape(step, state, batch_at(0))
        steps = len(batches['label'])
        all_sums = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape), x.dtype), sums)
        return jax.lax.fori_loop(0, count, take, (state, all_sums))

    return train_steps


def _targets(batch: Batch, num_classes: int) -> jax.Array:
    """Returns the target probabilities (B, classes), with two nonzero classes if mixed."""
    one_hot = functools.partial(jax.nn.one_hot, num_classes=num_classes, dtype=jnp.float32)
    targets = one_hot(batch['label'])
    mixed_label, weight = batch.get('mixed_label'), batch.get('label_weight')
    if mixed_label is None or weight is None:
        return targets
    weight = weight[:, None]
    return weight * targets + (1 - weight) * one_hot(mixed_label)


def _gather(tree: Any, mesh: Mesh) -> Any:
    """Replicates every array on every device."""
    return jax.lax.with_sharding_constraint(tree, replicated(mesh))


def make_eval_step(
    model: Network, dataset: Dataset, mesh: Mesh, loss: Loss = cross_entropy
) -> Callable[[Any, Batch], metrics.Sums]:
    """Builds ``(variables, batch) -> sums``, summed over the images whose ``mask`` is true."""
    model = loss.model(model)

    def eval_step(variables: Any, batch: Batch) -> metrics.Sums:
        logits, updates = model.apply(
            _gather(variables, mesh),
            normalize(batch['image'], dataset),
            mutable=['firing_rates'],
        )
        scores, labels, mask = loss.mean_logits(logits), batch['label'], batch['mask']
        sums = metrics.batch_sums(
            losses=loss.of(logits, _targets(batch, dataset.num_classes)),
            logits=scores,
            labels=labels,
            firing_rates=mean_firing_rate(updates['firing_rates']),
            mask=mask,
        )
        if dataset.num_classes > _FEW_CLASSES:
            sums['correct_top5'] = metrics.correct_top5(scores, labels, mask)
        return sums

    return eval_step
