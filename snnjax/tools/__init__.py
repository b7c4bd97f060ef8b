"""Commands: ``python -m snnjax.tools.NAME``."""
