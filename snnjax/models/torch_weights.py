"""The former location of `snnjax.weights.torch_state`, kept for existing imports."""

from snnjax.weights.torch_state import from_state_dict, to_state_dict

__all__ = ['from_state_dict', 'to_state_dict']
