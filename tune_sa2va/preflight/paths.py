"""Whether the names of folders are ones that all who open them can spell.

Python spells a path by the locale, Arrow, safetensors and Ray in UTF-8. In a Latin-1 or GBK locale a name with other
letters than ASCII's is two names, and trials would be trained before the first table fails.
"""

import os
import sys
from pathlib import Path

from tune_sa2va.errors import UserError


def check_spelling(flag: str, path: Path) -> None:
    """Whether a path has the same bytes in this locale and in UTF-8.

    Raises:
        UserError: it has not.
    """
    try:
        if os.fsencode(path) == str(path).encode():
            return
    except UnicodeEncodeError:
        pass
    raise UserError(
        f"{flag} {path}: tables are written by names in UTF-8, and this name is another one in the locale's "
        f"{sys.getfilesystemencoding()}. Start with PYTHONUTF8=1 in the environment, or use a folder named in ASCII."
    )
