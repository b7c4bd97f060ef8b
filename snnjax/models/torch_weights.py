"""The former home of `snnjax.weights.torch_state`, which existing programs import from."""

from snnjax.weights.torch_state import from_state_dict, to_state_dict

__all__ = ['from_state_dict', 'to_state_dict']
