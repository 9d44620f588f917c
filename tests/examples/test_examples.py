"""The examples parse with the tools that read them, and their calls of our commands are ones that the commands take."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.documents.blocks import ROOT, calls_in, parse

EXAMPLES = ROOT / "examples"
DOCKERFILE = EXAMPLES / "Dockerfile"


def read(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def rayjob() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(read("rayjob.yaml"))
    return found


def pods() -> list[dict[str, Any]]:
    cluster = rayjob()["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_all_examples_are_tested_here() -> None:
    names = {path.name for path in EXAMPLES.iterdir()}
    assert names == {"Dockerfile", "Dockerfile.dockerignore", "ray-cluster.yaml", "rayjob.yaml", "slurm.sh"}


def test_ray_takes_the_cluster() -> None:
    config = prepare_config(yaml.safe_load(read("ray-cluster.yaml")))
    validate_config(config)
    assert config["max_workers"] == len(config["provider"]["worker_ips"])
    starts = [line for key in ("head", "worker") for line in config[f"{key}_start_ray_commands"] if "ray start" in line]
    assert len(starts) == 2 and all("RAY_AUTH_MODE=token" in line for line in starts)


def test_bash_takes_the_slurm_script() -> None:
    subprocess.run(["bash", "-n", EXAMPLES / "slurm.sh"], check=True)
    calls = list(calls_in(read("slurm.sh")))
    assert [call[0] for call in calls] == ["search", "search"]
    for call in calls:
        parse(call)


def test_slurm_gets_as_many_gpus_as_the_search_asks_for() -> None:
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", read("slurm.sh"), re.MULTILINE))
    gpus = re.search(r"^GPUS=(\d+)", read("slurm.sh"), re.MULTILINE)
    assert gpus and int(gpus[1]) == int(options["nodes"]) * int(options["gpus-per-node"])


def test_the_rayjobs_search_is_one_that_its_cluster_can_run() -> None:
    spec = rayjob()["spec"]
    (call,) = calls_in(spec["entrypoint"])
    parse(call)
    given = dict(zip(call[1::2], call[2::2], strict=True))
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert int(given["--gpus"]) == group["replicas"] * int(resources["limits"]["nvidia.com/gpu"])
    assert resources["limits"] == resources["requests"] and given["--address"] == "auto"


def test_all_pods_of_the_rayjob_are_alike() -> None:
    head, workers = pods()
    assert head["volumes"] == workers["volumes"]
    for pod in (head, workers):
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert head["containers"][0]["image"] == workers["containers"][0]["image"]


def test_the_rayjob_has_the_lock_files_ray() -> None:
    version = rayjob()["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"\nray=={version}\n" in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_what_the_dockerfile_copies_is_there_and_is_sent() -> None:
    copies = re.findall(r"^COPY (.+)$", read("Dockerfile"), re.MULTILINE)
    sources = [word for line in copies for word in line.split()[:-1]]
    sent = re.findall(r"^!(\S+)$", read("Dockerfile.dockerignore"), re.MULTILINE)
    assert sorted(sources) == sorted(sent) and all((ROOT / source).exists() for source in sources)


def test_the_dockerfiles_command_is_ours() -> None:
    (command,) = re.findall(r"^CMD (.+)$", read("Dockerfile"), re.MULTILINE)
    assert json.loads(command) == ["tune-sa2va", "--help"]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="needs hadolint")
def test_hadolint_finds_nothing() -> None:
    subprocess.run(["hadolint", DOCKERFILE], check=True, cwd=Path(ROOT))
