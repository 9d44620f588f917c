"""A folder that is named by a URI, on any file system of pyarrow: S3, Google Cloud Storage, Azure, HDFS, a local disk.

A URI is stored in `search.yaml` and printed, so one that holds a secret is refused. pyarrow takes credentials from the
environment or from the machine's role.
"""

import contextlib
import re
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs

from tune_sa2va.errors import ResultsError

_CHUNK_BYTES = 8 * 2**20
_EXAMPLES = "s3://bucket/path, gs://bucket/path, hdfs://host:port/path or file:///path"
_SECRETS = re.compile(r"secret|password|token|key|sig", re.IGNORECASE)
"""Names of URI parameters that hold secrets."""

_WITHOUT_FOLDERS = ("s3", "gcs", "abfs")
"""File systems that need no folders; a folder that is created there shows up as an empty object."""


def is_uri(text: str) -> bool:
    """Whether a text is a URI; `--resume` takes either a URI or a folder of this machine."""
    return "://" in text


def join(uri: str, name: str) -> str:
    """The URI of `name` in the folder at `uri`; parameters of the URI are kept."""
    head, mark, parameters = uri.partition("?")
    return f"{head.rstrip('/')}/{name}{mark}{parameters}"


def split(uri: str) -> tuple[str, str]:
    """(URI of the parent, name) of the folder at `uri`: the inverse of `join`."""
    head, mark, parameters = uri.partition("?")
    parent, _, name = head.rstrip("/").rpartition("/")
    return f"{parent}{mark}{parameters}", name


class Place:
    """The files below one folder, by relative paths with slashes. Methods raise OSError if the storage fails."""

    def __init__(self, uri: str, filesystem: fs.FileSystem, root: str) -> None:
        self.uri = uri
        self._filesystem, self._root = filesystem, root

    @classmethod
    def open(cls, flag: str, uri: str) -> "Place":
        """The place at `uri`, which need not exist yet. flag: the flag that gave it, for messages.

        Raises:
            UserError: not a URI, one of an unknown file system, or one that holds a secret.
        """
        where = f"{flag} {_without_secrets(uri)}"
        if not is_uri(uri):
            raise ResultsError(
                f"{where}: must be a URI, such as {_EXAMPLES}. For results in a folder that all nodes share, use --out."
            )
        if _has_secret(uri):
            raise ResultsError(
                f"{where}: holds a password or a key, and would be kept with the results. Leave it out: credentials "
                "come from the environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS ...) or the machine's "
                "role."
            )
        try:
            filesystem, path = fs.FileSystem.from_uri(_with_few_requests(uri))
        except (OSError, ValueError, NotImplementedError) as error:
            raise ResultsError(
                f"{where}: cannot be used ({one_line(error)}). Give a URI such as {_EXAMPLES}."
            ) from error
        root = str(PurePosixPath(path)) if path.strip("/") else ""
        if not root or ".." in PurePosixPath(root).parts or filesystem.type_name == "mock":
            raise ResultsError(f"{where}: names no folder that can hold results. Give a URI such as {_EXAMPLES}.")
        return cls(uri, filesystem, root)

    @property
    def local(self) -> Path | None:
        """The folder if it is on a local file system, else None."""
        return Path(self._root).resolve() if self._filesystem.type_name == "local" else None

    def check_writable(self, flag: str) -> None:
        """Writes a file of one byte and deletes it. flag: as for `open`.

        Raises:
            UserError: writing or deleting fails.
        """
        probe = f".tune_sa2va-{uuid.uuid4().hex}"
        try:
            self.write(probe, [b"1"])
            self.remove(probe)
        except OSError as error:
            raise ResultsError(
                f"{flag} {self.uri}: cannot be written ({one_line(error)}). Check the address and who may write and "
                "delete there; credentials come from the environment or the machine's role."
            ) from error

    def sizes(self) -> dict[str, int]:
        """Path -> bytes of every file; empty if the folder does not exist."""
        selector = fs.FileSelector(self._root, allow_not_found=True, recursive=True)
        with _as_os_error():
            return {
                info.path[len(self._root) + 1 :]: info.size
                for info in self._filesystem.get_file_info(selector)
                if info.type == fs.FileType.File
            }

    def read(self, path: str) -> Iterator[bytes]:
        """The content of a file, in chunks."""
        with _as_os_error(), self._filesystem.open_input_stream(self._at(path), compression=None) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk

    def write(self, path: str, content: Iterable[bytes]) -> None:
        """Writes a file, replacing what is there. An interrupted call may leave a partial file."""
        with _as_os_error():
            self._make_folder(path)
            with self._filesystem.open_output_stream(self._at(path), compression=None) as stream:
                for chunk in content:
                    stream.write(chunk)

    def copy(self, path: str, to: str) -> None:
        """Copies a file within the storage, replacing what is at `to`."""
        with _as_os_error():
            self._make_folder(to)
            self._filesystem.copy_file(self._at(path), self._at(to))

    def remove(self, path: str) -> None:
        """Deletes a file, or a folder with everything in it; does nothing if neither exists."""
        with _as_os_error(), contextlib.suppress(FileNotFoundError):
            if self._filesystem.get_file_info(self._at(path)).type == fs.FileType.Directory:
                self._filesystem.delete_dir(self._at(path))
            else:
                self._filesystem.delete_file(self._at(path))

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _make_folder(self, path: str) -> None:
        if self._filesystem.type_name not in _WITHOUT_FOLDERS:
            self._filesystem.create_dir(str(PurePosixPath(self._at(path)).parent), recursive=True)


def one_line(error: BaseException) -> str:
    """The first line of an error's message, without a full stop, for use in a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """Turns errors of pyarrow into OSError."""
    try:
        yield
    except pa.ArrowException as error:
        raise OSError(one_line(error)) from error


def _has_secret(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
    except ValueError:  # pyarrow will say what is wrong with it
        return "@" in uri
    # On other file systems a name before the @ is no secret: HDFS has a user there, Azure a container.
    secret_user = parts.scheme == "s3" and parts.username is not None
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    return secret_user or parts.password is not None or any(map(_SECRETS.search, names))


def _with_few_requests(uri: str) -> str:
    """The URI with an option that writes a small file to S3 in one request instead of three; most files are small."""
    if not uri.startswith("s3://"):
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"


def _without_secrets(uri: str) -> str:
    return re.sub(r"//[^/]*@", "//", uri.partition("?")[0])
