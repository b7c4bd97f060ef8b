"""The commands ``python -m snnjax.tools.NAME``."""

import signal
import sys

# Importing a command takes seconds. Until `snnjax.errors.run_command` restores the usual handler,
# Ctrl-C ends the process without a traceback.
if sys.argv[:1] == ['-m'] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
