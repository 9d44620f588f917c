"""Files in UTF-8 whatever the locale: under another one a command starts itself once more in Python's UTF-8 mode.

Our own files name their encoding, but libraries read theirs by the locale: torch 2.13 ends under GBK with a
`UnicodeDecodeError` of a source file of its own. The mode goes on to the processes of Ray by the environment. What is
printed stays in the letters of the locale, which are the terminal's.
"""

import locale
import os
import sys

_UTF8_MODE, _STREAMS = "PYTHONUTF8", "PYTHONIOENCODING"


def ensure_utf8_mode() -> None:
    """Call it first: it may replace this process. PYTHONUTF8=0 in the environment is a user's wish and stays."""
    in_letters = f"{locale.getencoding()}:replace"
    if sys.flags.utf8_mode:
        if os.environ.get(_STREAMS) == in_letters:  # of this process alone, which began below
            del os.environ[_STREAMS]
        return
    if _UTF8_MODE in os.environ or locale.getencoding().lower().replace("-", "") == "utf8":
        return
    environment = {_STREAMS: in_letters} | os.environ | {_UTF8_MODE: "1"}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
