"""Checks that results on a cluster survive the loss of a node: all nodes share the folder, or a copy is kept elsewhere.

Only Ray's head node and the node that drives the search read and write the results folder. But results on the disk of
one node are lost with that node, so a folder that not all nodes share is refused unless there is a copy.
"""

import contextlib
import uuid
from pathlib import Path

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_sa2va.errors import DeviceError

_ANSWER_S = 120.0
"""Seconds that a node may take to answer: the first Python process there starts from a cold disk."""


def check_on_head(storage: str) -> None:
    """Checks that this process runs on the head node, where lanes keep checkpoints.

    With a copy (`storage`, a URI), no other node needs to see the results folder.

    Raises:
        UserError: it runs on another node.
    """
    here = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["Alive"] and "node:__internal_head__" in node["Resources"] and node["NodeID"] != here:
            raise DeviceError(
                f"--storage {storage}: the search must be started on the head node of the cluster, "
                f"{node['NodeManagerAddress']}, where the results lie. Start it there, or leave --storage out and give "
                "an --out that all nodes share."
            )


def check_shared(out: Path) -> None:
    """Checks that all nodes share `out`. Needs a running Ray.

    Writes a token into the folder, has every other node write an answer next to it, and deletes all of them.

    Raises:
        UserError: a node does not see the folder or cannot write into it.
    """
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    if not others:
        return
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    token = out / f".shared-{uuid.uuid4().hex}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        token.write_text(token.name, encoding="utf-8")
        asked = [(node, _ask(node["NodeID"], token)) for node in others]
        for node, answer in asked:
            fault = _fault(answer) or ("" if _answer_to(token, node["NodeID"]).exists() else "writes it elsewhere")
            if fault:
                raise DeviceError(
                    f"--out {out}: node {node['NodeManagerAddress']} of the cluster {fault}, and results on the disk "
                    "of one node are lost with it. Choose a folder on storage that all nodes share, at the same path, "
                    "or keep a copy elsewhere with --storage URI."
                )
    finally:
        for file in out.glob(f"{token.name}*"):
            file.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _ask(node_id: str, token: Path) -> ray.ObjectRef:
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_answer)
    return task.remote(token, _answer_to(token, node_id))


def _answer(token: Path, answer: Path) -> str:
    """Runs on another node: writes the answer and returns why that is impossible; empty if it worked."""
    try:
        if token.read_text(encoding="utf-8") != token.name:
            return "sees another folder there"
    except OSError:
        return "does not see what this machine writes there"
    try:
        answer.write_text(token.name, encoding="utf-8")
    except OSError as error:
        return f"cannot write there ({error.strerror})"
    return ""


def _answer_to(token: Path, node_id: str) -> Path:
    return token.with_name(f"{token.name}-{node_id}")


def _fault(answer: ray.ObjectRef) -> str:
    try:
        return str(ray.get(answer, timeout=_ANSWER_S))
    except (GetTimeoutError, RayError):
        return "did not answer whether it sees the folder"
