"""Promises of ``jobs/kuberay.yaml``: KubeRay knows all its fields, and its command is a valid build. It is only read."""

import re
import shlex
from typing import Any

import pytest
import yaml

from pipeline import __version__
from pipeline.build import parse_job
from tests.cluster.conftest import ROOT

TEXT = (ROOT / "jobs" / "kuberay.yaml").read_text()

# The fields of KubeRay's ray.io/v1 (1.6), and those of Kubernetes' pods that a file of this kind may use. A word is a field;
# after a colon is the object that it holds. Kubernetes drops a field that it does not know without an error.
FIELDS = {
    "RayJob": "apiVersion kind metadata:Meta spec:RayJobSpec",
    "Meta": "name namespace labels annotations",
    "RayJobSpec": "activeDeadlineSeconds backoffLimit rayClusterSpec:RayClusterSpec submitterPodTemplate:Template metadata "
    "clusterSelector submitterConfig managedBy deletionStrategy entrypoint runtimeEnvYAML jobId submissionMode "
    "entrypointResources entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished shutdownAfterJobFinishes suspend",
    "RayClusterSpec": "suspend managedBy autoscalerOptions headServiceAnnotations enableInTreeAutoscaling authOptions:Auth "
    "gcsFaultToleranceOptions headGroupSpec:Head rayVersion workerGroupSpecs:Workers",
    "Auth": "mode secretName",
    "Head": "template:Template headService enableIngress rayStartParams serviceType",
    "Workers": "suspend groupName replicas minReplicas maxReplicas idleTimeoutSeconds rayStartParams template:Template "
    "scaleStrategy numOfHosts",
    "Template": "metadata:Meta spec:Pod",
    "Pod": "containers:Container volumes:Volume securityContext:Account nodeSelector tolerations serviceAccountName",
    "Account": "runAsUser runAsGroup fsGroup",
    "Container": "name image imagePullPolicy resources:Resources ports:Port volumeMounts:Mount env envFrom",
    "Resources": "requests limits",
    "Port": "containerPort name",
    "Mount": "name mountPath readOnly subPath",
    "Volume": "name persistentVolumeClaim:Claim",
    "Claim": "claimName readOnly",
}
REQUIRED = {
    "Head": {"rayStartParams", "template"},
    "Workers": {"groupName", "rayStartParams", "template", "minReplicas", "maxReplicas"},
    "RayClusterSpec": {"headGroupSpec"},
}


def check(value: Any, kind: str) -> None:
    """Checks the fields of an object, or of each object of a list."""
    for part in value if isinstance(value, list) else [value]:
        known = dict(field.partition(":")[::2] for field in FIELDS[kind].split())
        assert set(part) <= set(known), f"{kind} has no field {set(part) - set(known)}"
        assert set(part) >= REQUIRED.get(kind, set())
        for name, content in part.items():
            if known[name]:
                check(content, known[name])


def with_gpus() -> str:
    """Returns the text of the file with its commented variant."""
    start = TEXT.index("      # - groupName: gpu")
    return TEXT[:start] + re.sub(r"(?m)^      # ", "      ", TEXT[start:])


@pytest.mark.parametrize("text", [TEXT, with_gpus()], ids=["cpu", "gpu"])
def test_kuberay_knows_every_field(text: str) -> None:
    document = yaml.safe_load(text)
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", "RayJob")
    check(document, "RayJob")
    cluster = document["spec"]["rayClusterSpec"]
    assert cluster["authOptions"]["mode"] == "token"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert len(cluster["workerGroupSpecs"]) == (1 if text == TEXT else 2)


def test_a_field_that_kuberay_does_not_know_is_noticed() -> None:
    document = yaml.safe_load(TEXT.replace("backoffLimit", "backofLimit"))
    with pytest.raises(AssertionError, match="backofLimit"):
        check(document, "RayJob")


def test_its_command_is_a_build_on_the_volume_of_every_pod() -> None:
    spec = yaml.safe_load(TEXT)["spec"]
    python, _, module, *flags = shlex.split(spec["entrypoint"])
    assert (python, module) == ("python", "pipeline.build")
    job = parse_job(flags)
    assert {variant.name for variant in job.variants} == {"rank50", "highrank50"}
    (mount,) = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert str(job.out).startswith(mount["mountPath"]) and str(job.data_dir).startswith(mount["mountPath"])


def test_the_images_have_the_version_of_the_package() -> None:
    assert set(re.findall(r"rank-shards:([0-9.]+)", TEXT)) == {__version__}


def test_ray_is_the_version_of_the_constraints() -> None:
    version = re.search(r"(?m)^ray==(\S+)", (ROOT / "constraints.txt").read_text())
    assert version
    assert yaml.safe_load(TEXT)["spec"]["rayClusterSpec"]["rayVersion"] == version[1]
