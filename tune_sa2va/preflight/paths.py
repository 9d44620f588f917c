"""Whether folder names are UTF-8, as Arrow, safetensors and Ray expect.

They encode paths in UTF-8. A folder with non-ASCII letters that was named under Latin-1 or GBK does not exist for them,
and without this check trials would be trained before the first table fails to be written.
"""

import os
from pathlib import Path

from tune_sa2va.errors import UserError


def check_spelling(flag: str, path: Path) -> None:
    """Checks that the bytes of a path are UTF-8. flag: what gave the path, for the message.

    Raises:
        UserError: they are not.
    """
    try:
        if os.fsencode(path) == str(path).encode():
            return
    except UnicodeEncodeError:
        pass
    raise UserError(
        f"{flag} {path}: tables need a folder name in UTF-8, and this name is not UTF-8. Use one with an ASCII name."
    )
