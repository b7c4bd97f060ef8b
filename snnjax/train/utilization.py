"""Utilization of the devices of a run."""

from __future__ import annotations

from collections.abc import Callable

from snnjax.models.summary import summarize
from snnjax.train.chips import chip_of
from snnjax.train.experiment import Phase


def utilization(phase: Phase) -> Callable[[float], dict[str, float]]:
    """Returns a function from images per second to metrics of device utilization.

    The metrics are:

    - ``time/mfu``, the model FLOP utilization: the operations of convolutions and fully connected
      layers, counted once forward and twice backward, as a share of the published bfloat16 rate of
      all chips. It is missing if that rate is not known.
    - ``device/peak_bytes``, the peak memory that this process has used on any of its devices so
      far. It is missing if the devices do not report it.

    Args:
      phase: the phase that is trained.
    """
    devices = phase.program.mesh.local_devices
    chip = chip_of(devices[0].device_kind)
    per_image = 0
    if chip:
        layers = summarize(phase.program.model, phase.dataset.image_shape)
        per_image = 6 * sum(layer.macs * layer.runs for layer in layers)

    def measure(images_per_second: float) -> dict[str, float]:
        values = {}
        if chip:
            rate = chip.flops * phase.program.mesh.size
            values['time/mfu'] = images_per_second * per_image / rate
        peaks = [(device.memory_stats() or {}).get('peak_bytes_in_use') for device in devices]
        known = [peak for peak in peaks if peak is not None]
        return values | ({'device/peak_bytes': max(known)} if known else {})

    return measure
