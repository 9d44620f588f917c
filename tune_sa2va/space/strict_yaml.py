"""Reads YAML from a user: plain values only, and mistakes are errors.

Unlike `yaml.safe_load` it refuses duplicate keys, aliases and files over 64 KiB, and it reads `1e-5` as a number. YAML
1.1 requires `1.0e-5` and takes the short form for text.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from tune_sa2va.errors import SpaceError

MAX_BYTES = 64 * 1024


class _StrictLoader(yaml.SafeLoader):
    """`SafeLoader` that refuses aliases (a few lines of them can expand to gigabytes) and duplicate keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not read here", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                problem = f"the key {key_node.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+\Z"), list("-+0123456789")
)


def read_yaml(path: Path) -> Any:
    """The file's content as plain values; None for an empty file.

    Raises:
        SpaceError: the file cannot be read, is too large, or is not valid YAML.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise SpaceError(
                f"{path}: larger than {MAX_BYTES} bytes. This is not a file of settings; give another one."
            )
        return yaml.load(text, Loader=_StrictLoader)
    except OSError as error:
        raise SpaceError(
            f"{path}: cannot be read ({error.strerror}). Give a file that exists and is readable."
        ) from error
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SpaceError(f"{path}: not valid YAML{line}: {error.problem}. Correct that line.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise SpaceError(f"{path}: not valid YAML: {reason}. Write it as UTF-8 text, as in search_spaces/.") from error
