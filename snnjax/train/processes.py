"""The processes of a run: one for each host of a pod or cluster, or several on one machine."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import jax


class ProcessesError(ValueError):
    """Processes that cannot find each other; the message says what to give."""


def join(coordinator: str, num_processes: int, process_id: int, from_environment: bool) -> None:
    """Joins the other processes of a run, before anything else of JAX is used; alone, does nothing.

    Args:
      coordinator: ``HOST:PORT`` of the process 0, reached by all; '' for none.
      num_processes: how many there are.
      process_id: which one this is, from 0.
      from_environment: whether a Cloud TPU, GKE, Slurm or Open MPI has set all that.

    Raises:
      ProcessesError: where some of it is missing, or nobody answers.
    """
    if from_environment and coordinator:
        raise ProcessesError('give --distributed or --coordinator, not both')
    if not coordinator and (num_processes > 1 or process_id):
        raise ProcessesError('--num_processes and --process_id need --coordinator=HOST:PORT')
    if coordinator and not 0 <= process_id < num_processes:
        raise ProcessesError(
            f'--process_id={process_id} must be 0 to --num_processes={num_processes} less one'
        )
    try:
        if from_environment:
            jax.distributed.initialize()
        elif coordinator:
            jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise ProcessesError(f'cannot join the other processes: {error}') from error


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0


def leave(status: int) -> NoReturn:
    """Ends this process, in a run of several without waiting for the others."""
    if jax.process_count() == 1:
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
