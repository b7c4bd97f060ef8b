"""How far the devices of a run are used."""

from __future__ import annotations

from collections.abc import Callable

from snnjax.models.summary import summarise
from snnjax.train.chips import chip_of
from snnjax.train.experiment import Phase


def utilisation(phase: Phase) -> Callable[[float], dict[str, float]]:
    """Returns a function of images per second that tells how far the devices are used.

    It gives ``time/mfu``, the share of the chips' published rate of bfloat16 operations that the
    convolutions and fully connected layers make up, forwards and twice as many backwards, where the
    rate is known; and ``device/peak_bytes``, the most that this process had on one of its devices
    so far, where they tell.
    """
    devices = phase.program.mesh.local_devices
    chip = chip_of(devices[0].device_kind)
    per_image = 0
    if chip:
        layers = summarise(phase.program.model, phase.dataset.image_shape)
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
