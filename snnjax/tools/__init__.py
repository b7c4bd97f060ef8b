"""Commands: ``python -m snnjax.tools.NAME``."""

import signal
import sys

# While `python -m` imports what a command needs, which takes seconds, Ctrl-C ends it without a
# traceback; `snnjax.errors.run_command` has the usual handler again.
if sys.argv[:1] == ['-m'] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
