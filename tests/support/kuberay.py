"""KubeRay's RayCluster and RayJob as a JSON schema that refuses every field it does not know.

Written by hand after the API reference of KubeRay 1.7.0, for no package carries its resource definitions; of status,
which a manifest does not have, nothing is here. What belongs to Kubernetes itself (pods, services, environment) is left
to Kubernetes' own strict schemas.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
from referencing import Registry
from referencing.jsonschema import DRAFT202012

KUBERNETES = "v1.37.0"
STRING, BOOLEAN, INTEGER, NUMBER = ({"type": name} for name in ("string", "boolean", "integer", "number"))
STRINGS = {"type": "object", "additionalProperties": STRING}
COUNT = {"type": "integer", "minimum": 0}

Schema = dict[str, Any]


def fields(*required: str, **known: Schema) -> Schema:
    """An object with these fields and no others."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": known}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def core(kind: str, group: str = "api.core.v1") -> Schema:
    """A type of Kubernetes' own."""
    return {"$ref": f"kubernetes#/$defs/io.k8s.{group}.{kind}"}


POD = core("PodTemplateSpec")
ENVIRONMENT = {"env": list_of(core("EnvVar")), "envFrom": list_of(core("EnvFromSource"))}
METADATA = core("ObjectMeta", "apimachinery.pkg.apis.meta.v1")
REDIS = fields(value=STRING, valueFrom=core("EnvVarSource"))
RULES = {
    "ingressRules": list_of(core("NetworkPolicyIngressRule", "api.networking.v1")),
    "egressRules": list_of(core("NetworkPolicyEgressRule", "api.networking.v1")),
}
DELETION = one_of("DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone")
GROUP = {"resources": STRINGS, "labels": STRINGS, "rayStartParams": STRINGS, "template": POD}

HEAD_GROUP = fields(
    "template",
    **GROUP,
    headService=core("Service"),
    enableIngress=BOOLEAN,
    ingressOptions=fields(
        host=STRING,
        path=STRING,
        pathType=one_of("Exact", "Prefix", "ImplementationSpecific"),
        tls=list_of(core("IngressTLS", "api.networking.v1")),
    ),
    serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
)
WORKER_GROUP = fields(
    *("groupName", "minReplicas", "maxReplicas", "template"),
    **GROUP,
    groupName=STRING,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    priority=INTEGER,
    suspend=BOOLEAN,
    scaleStrategy=fields(workersToDelete=list_of(STRING)),
)
AUTOSCALER = fields(
    **ENVIRONMENT,
    version=one_of("v1", "v2"),
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    idleTimeoutSeconds=COUNT,
    resources=core("ResourceRequirements"),
    image=STRING,
    imagePullPolicy=STRING,
    securityContext=core("SecurityContext"),
    volumeMounts=list_of(core("VolumeMount")),
    command=list_of(STRING),
    args=list_of(STRING),
)
GCS = fields(
    backend=one_of("redis", "rocksdb"),
    redisUsername=REDIS,
    redisPassword=REDIS,
    redisAddress=STRING,
    externalStorageNamespace=STRING,
    storage=fields(
        claimName=STRING,
        size=STRING,
        storageClassName=STRING,
        accessModes=list_of(STRING),
        subPath=STRING,
        deletionPolicy=one_of("DeleteWithCluster", "Retain"),
    ),
)
CLUSTER = fields(
    "headGroupSpec",
    rayVersion=STRING,
    suspend=BOOLEAN,
    managedBy=STRING,
    authOptions=fields(mode=one_of("disabled", "token"), secretName=STRING, enableK8sTokenAuth=BOOLEAN),
    upgradeStrategy=fields(type=one_of("Recreate", "None")),
    enableInTreeAutoscaling=BOOLEAN,
    autoscalerOptions=AUTOSCALER,
    gcsFaultToleranceOptions=GCS,
    historyServerOptions=fields(
        collectorOptions=fields(
            image=STRING, imagePullPolicy=STRING, resources=core("ResourceRequirements"), env=ENVIRONMENT["env"]
        )
    ),
    networkPolicy=fields(
        mode=one_of("DenyAll", "DenyAllIngress", "DenyAllEgress"),
        head=fields(**RULES),
        worker=fields(**RULES),
        workerGroups=list_of(fields("groupName", groupName=STRING, **RULES)),
    ),
    tlsOptions=fields(enabled=BOOLEAN),
    headServiceAnnotations=STRINGS,
    headGroupSpec=HEAD_GROUP,
    workerGroupSpecs=list_of(WORKER_GROUP),
)
JOB = fields(
    entrypoint=STRING,
    entrypointNumCpus=NUMBER,
    entrypointNumGpus=NUMBER,
    entrypointResources=STRING,
    runtimeEnvYAML=STRING,
    jobId=STRING,
    metadata=STRINGS,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    submitterPodTemplate=POD,
    submitterConfig=fields(backoffLimit=COUNT),
    rayClusterSpec=CLUSTER,
    clusterSelector=STRINGS,
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    preRunningDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=BOOLEAN,
    ttlSecondsAfterFinished=COUNT,
    deletionStrategy=fields(
        onSuccess=fields(policy=DELETION),
        onFailure=fields(policy=DELETION),
        deletionRules=list_of(
            fields(
                *("policy", "condition"),
                policy=DELETION,
                condition=fields(ttlSeconds=COUNT, jobStatus=STRING, jobDeploymentStatus=STRING),
            )
        ),
    ),
    suspend=BOOLEAN,
    managedBy=STRING,
)
SPECS = {"RayCluster": CLUSTER, "RayJob": JOB}


def check(manifest: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError."""
    head = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": manifest["kind"]}, "metadata": METADATA}
    schema = fields("apiVersion", "kind", "metadata", "spec", **head, spec=SPECS[manifest["kind"]])
    jsonschema.Draft202012Validator(schema, registry=_kubernetes()).validate(manifest)


@cache
def _kubernetes() -> Registry[Any]:
    place = files("kubernetes_validate") / "kubernetes-json-schema" / f"{KUBERNETES}-local-strict" / "_definitions.json"
    return Registry().with_resource("kubernetes", DRAFT202012.create_resource(json.loads(place.read_text())))
