"""A checkpoint from the Hugging Face hub, only where the user names one as `--model organisation/name`.

Weights, JSON and tokenizer files are fetched, never Python and never a pickle: nothing of a hub is run.
"""

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from tune_sa2va.errors import CheckpointError

WANTED_FILES = ("*.safetensors", "*.json", "merges.txt", "tokenizer.model")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(model: str) -> bool:
    """Whether `model` can only be a hub's id: of its form, and no path that begins in a folder of this machine."""
    return bool(_HUB_ID.fullmatch(model)) and not Path(model).parent.exists()


def download(hub_id: str) -> Path:
    """The folder with the checkpoint's files, fetched into the hub's cache where they are not there already.

    Raises:
        CheckpointError: no such checkpoint, no right to it, or no network.
    """
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(WANTED_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"--model {hub_id}: is no folder here and cannot be fetched from the hub ({reason}). "
            "Give the folder of a checkpoint on this machine, or check the name and the network."
        ) from error
