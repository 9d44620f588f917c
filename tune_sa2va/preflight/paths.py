"""Whether the names of folders are ones that all who open them can spell.

Arrow, safetensors and Ray spell a path in UTF-8. A folder that was named under Latin-1 or GBK, in other letters than
ASCII's, is not there for them, and trials would be trained before the first table fails.
"""

import os
from pathlib import Path

from tune_sa2va.errors import UserError


def check_spelling(flag: str, path: Path) -> None:
    """Whether a path's bytes are UTF-8.

    Raises:
        UserError: they are not.
    """
    try:
        if os.fsencode(path) == str(path).encode():
            return
    except UnicodeEncodeError:
        pass
    raise UserError(
        f"{flag} {path}: its name is not UTF-8, in which tables are written. Use a folder with a name in ASCII letters."
    )
