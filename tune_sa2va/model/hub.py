"""Downloads a checkpoint from the Hugging Face hub, only if the user names one as `--model organisation/name`.

Only weights, JSON and tokenizer files are downloaded, never Python files or pickles: no code from the hub is run.
"""

import re
from pathlib import Path

from tune_sa2va.errors import CheckpointError

WANTED_FILES = ("*.safetensors", "*.json", "merges.txt", "tokenizer.model")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(model: str) -> bool:
    """Whether `model` can only be a hub id: it has that form, and is not a path inside an existing folder."""
    return bool(_HUB_ID.fullmatch(model)) and not Path(model).parent.exists()


def download(hub_id: str) -> Path:
    """The folder with the checkpoint's files in the hub's cache, downloaded if they are not there yet.

    Raises:
        CheckpointError: there is no such checkpoint, no access to it, or no network.
    """
    from huggingface_hub import snapshot_download  # half a second, and few models are on the hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(WANTED_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"--model {hub_id}: is not a folder here and cannot be downloaded from the hub ({reason}). "
            "Give the folder of a checkpoint on this machine, or check the name and the network."
        ) from error
