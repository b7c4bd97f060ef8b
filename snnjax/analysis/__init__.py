"""What can be learnt from a model or a run."""
