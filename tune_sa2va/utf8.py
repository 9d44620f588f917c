"""Restarts a command in Python's UTF-8 mode where the locale's encoding is another.

This package names the encoding of every file it opens, but libraries use the locale's: under GBK, torch 2.13 fails with
a `UnicodeDecodeError` when it reads one of its own source files. Ray's processes inherit the mode from the environment.
Printed text stays in the locale's encoding, which is the terminal's.
"""

import locale
import os
import sys

_UTF8_MODE, _STREAMS = "PYTHONUTF8", "PYTHONIOENCODING"


def ensure_utf8_mode() -> None:
    """Call this before anything else: it may replace the process. PYTHONUTF8=0 in the environment is respected."""
    stream_encoding = f"{locale.getencoding()}:replace"
    if sys.flags.utf8_mode:
        if os.environ.get(_STREAMS) == stream_encoding:  # set by `execve` below; child processes must not inherit it
            del os.environ[_STREAMS]
        return
    if _UTF8_MODE in os.environ or locale.getencoding().lower().replace("-", "") == "utf8":
        return
    environment = {_STREAMS: stream_encoding} | os.environ | {_UTF8_MODE: "1"}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
