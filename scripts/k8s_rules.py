"""Judges built Kubernetes manifests: python3 scripts/k8s_rules.py FILE...; run through scripts/k8s-test.

Each rule yields its findings as text. Afterwards the rules are judged themselves: faults are put into the
manifests one by one, and a fault that nobody finds fails the run.
"""

import copy
import pathlib
import re
import sys

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The oldest and the newest release that is looked at.
VERSIONS = ["1.32", "1.37"]
# What the Prometheus operator defines; a schema of theirs is not part of Kubernetes.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}
# What fraudd needs beside its two bounded stores: binary, library, sessions, buffers (docs/deploy.md).
BESIDE_STORES_MIB = 160
# What the Kafka clients of a lane may keep in flight on top.
PER_LANE_MIB = 128
VOLUME_KINDS = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def of_kind(objects, kind):
    return [one for one in objects if one["kind"] == kind]


def pods(objects):
    return [(one, one["spec"]["template"]) for kind in ("StatefulSet", "Deployment", "Job") for one in of_kind(objects, kind)]


def schema(objects):
    for one in objects:
        if one["kind"] in FOREIGN:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(map(str, error.path))
                yield f"Kubernetes {version}: {one['kind']} {one['metadata'].get('name')}: {place}: {error.message[:200]}"


def stream(objects):
    """The text of kafka.toml, or nothing when the pod mounts none."""
    wanted = [volume["configMap"]["name"] for volume in pods(objects)[0][1]["spec"]["volumes"] if "configMap" in volume]
    return "".join(one["data"].get("kafka.toml", "") for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] in wanted)


def number(text, key, default):
    found = re.search(rf'^{key} = "?(\d+)', text, re.MULTILINE)
    return int(found[1]) if found else default


def lanes(objects):
    return number(stream(objects), "lanes", 1) if stream(objects) else 0


def one_replica(objects):
    sets, kafka = of_kind(objects, "StatefulSet"), stream(objects)
    if len(sets) != 1 or sets[0]["spec"].get("replicas") != 1 and not kafka:
        yield "exactly one StatefulSet, with one replica unless a stream gives each its partitions"
    if kafka and sets[0]["spec"].get("replicas", 1) * lanes(objects) > number(kafka, "partitions", 0):
        yield "lanes of all replicas are as many as there are partitions, at most: more would have nothing to do"
    if of_kind(objects, "HorizontalPodAutoscaler"):
        yield "no autoscaler: several replicas would each know a part of the history"


def restricted(objects):
    """Pod security "restricted", and a read-only root on top."""
    for owner, template in pods(objects):
        spec, name = template["spec"], owner["metadata"]["name"]
        pod = spec.get("securityContext", {})
        if pod.get("runAsNonRoot") is not True or pod.get("runAsUser") in (None, 0):
            yield f"{name}: runAsNonRoot and a runAsUser of its own"
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name}: seccompProfile RuntimeDefault"
        if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name}: no namespace of the host"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: no token of the cluster"
        for volume in spec.get("volumes", []):
            if not set(volume) - {"name"} <= VOLUME_KINDS:
                yield f"{name}: volume {volume['name']} is of a kind that restricted refuses"
        for container in spec["containers"] + spec.get("initContainers", []):
            context = container.get("securityContext", {})
            if context.get("allowPrivilegeEscalation") is not False or context.get("readOnlyRootFilesystem") is not True:
                yield f"{name}: no privilege escalation, and a read-only root"
            if context.get("privileged") or context.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name}: every capability dropped, none added"


def selectors(objects):
    """Every selector finds the pod, by the labels it really has."""
    labels = pods(objects)[0][1]["metadata"]["labels"]
    chosen = [(one, one["spec"]["selector"]) for one in of_kind(objects, "Service")]
    for kind in ("StatefulSet", "PodDisruptionBudget"):
        chosen += [(one, one["spec"]["selector"]["matchLabels"]) for one in of_kind(objects, kind)]
    chosen += [(one, one["spec"]["podSelector"]["matchLabels"]) for one in of_kind(objects, "NetworkPolicy")]
    for one, selector in chosen:
        if not selector or not selector.items() <= labels.items():
            yield f"{one['kind']} {one['metadata']['name']}: its selector does not find the pod"
    for policy in of_kind(objects, "NetworkPolicy"):
        if "Ingress" not in policy["spec"]["policyTypes"]:
            continue
        clients = [peer["podSelector"]["matchLabels"] for rule in policy["spec"]["ingress"] for peer in rule["from"] if "podSelector" in peer]
        if clients != [{"fraudd-client": "true"}]:
            yield f"NetworkPolicy: clients are whoever carries fraudd-client, not {clients}"
    services = of_kind(objects, "Service")
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [one for one in services if wanted <= one["metadata"]["labels"].items()]
        ports = {port["name"] for one in found for port in one["spec"]["ports"]}
        if len(found) != 1 or not all(point["port"] in ports for point in monitor["spec"]["endpoints"]):
            yield "ServiceMonitor: finds exactly one Service and its port"


def references(objects):
    """What a pod mounts exists, and the governing Service too."""
    known = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for owner, template in pods(objects):
        for volume in template["spec"].get("volumes", []):
            for key, kind, field in [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")]:
                if key in volume and (kind, volume[key][field]) not in known:
                    yield f"{owner['metadata']['name']}: {kind} {volume[key][field]} does not exist"
        if owner["kind"] == "StatefulSet" and ("Service", owner["spec"]["serviceName"]) not in known:
            yield f"{owner['metadata']['name']}: its governing Service does not exist"


def probes(objects):
    """Each probe asks a route that the API documents, at a port that exists."""
    page = (ROOT / "docs/api.md").read_text()
    for owner, template in pods(objects):
        for container in template["spec"]["containers"]:
            ports = {port["name"] for port in container["ports"]}
            for probe, path in [("startupProbe", "/startupz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
                asked = container.get(probe, {}).get("httpGet", {})
                if asked.get("path") != path or asked.get("port") not in ports or f"{path}`" not in page:
                    yield f"{owner['metadata']['name']}: {probe} asks {path} at a named port"


def mebibytes(text):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi|MiB|GiB)", text).groups()
    return int(number) * (1024 if unit.startswith("G") else 1)


def bounds(objects):
    """The settings fit into what the pod is given: time to stop, memory to live in."""
    for owner, template in pods(objects):
        name = owner["metadata"]["name"]
        wanted = [volume["configMap"]["name"] for volume in template["spec"]["volumes"] if "configMap" in volume]
        site = "".join(one["data"].get("site.toml", "") for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] in wanted)
        spans = [int(number) for number in re.findall(r'^drain_(?:pause|grace) = "(\d+)s"', site, re.MULTILINE)]
        lanes_drain = number(stream(objects), "drain_timeout", 5) if stream(objects) else 0
        if len(spans) != 2 or sum(spans) + lanes_drain + 10 > template["spec"]["terminationGracePeriodSeconds"]:
            yield f"{name}: terminationGracePeriodSeconds is drain_pause + drain_grace + kafka.drain_timeout and 10 s, at least"
        disk = re.search(r'^bytes_max = "(\w+)"', site, re.MULTILINE)
        claims = [one["spec"]["resources"]["requests"]["storage"] for one in owner["spec"].get("volumeClaimTemplates", [])]
        if not disk or not claims or 2 * mebibytes(disk[1]) > mebibytes(claims[0]):
            yield f"{name}: the volume is twice state.bytes_max, at least"
        stores = [mebibytes(size) for size in re.findall(r'^memory_max = "(\w+)"', site, re.MULTILINE)]
        for container in template["spec"]["containers"]:
            resources = container.get("resources", {})
            limit, request = resources.get("limits", {}).get("memory"), resources.get("requests", {}).get("memory")
            if not (limit and request and resources["requests"].get("cpu") and resources["limits"].get("cpu")):
                yield f"{name}: requests and limits for processor and memory"
            # Some 30 bytes of index for each kept decision of some 500 bytes.
            elif len(stores) != 2 or sum(stores) + mebibytes(disk[1]) / 16 + BESIDE_STORES_MIB + lanes(objects) * PER_LANE_MIB > mebibytes(limit):
                yield f"{name}: the memory limit is {BESIDE_STORES_MIB} MiB, both memory_max, the index of state.bytes_max and {PER_LANE_MIB} MiB a lane, at least"


def disruption(objects):
    budgets = of_kind(objects, "PodDisruptionBudget")
    if [one["spec"].get("maxUnavailable") for one in budgets] != [1]:
        yield "one PodDisruptionBudget with maxUnavailable 1: anything tighter blocks every drain of a node"


def streaming(objects):
    """With kafka.toml: it is read, the instance is the pod's, secrets are files that exist, brokers can be reached."""
    kafka, (owner, template) = stream(objects), pods(objects)[0]
    if not kafka:
        return
    name, spec = owner["metadata"]["name"], template["spec"]
    container = spec["containers"][0]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    folders = {volume["name"]: volume for volume in spec["volumes"]}
    files = [value for before, value in zip(container["args"], container["args"][1:]) if before == "--config"]
    if not any(file.endswith("/kafka.toml") and "configMap" in folders.get(mounts.get(file.rpartition("/")[0]), {}) for file in files):
        yield f"{name}: kafka.toml is mounted where --config names it"
    given = {one["name"]: one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for one in container.get("env", [])}
    if given.get("FRAUDD__KAFKA__INSTANCE") != "metadata.name":
        yield f"{name}: kafka.instance is the pod's name, or two pods would fence each other"
    if re.search(r"^(password|hmac_key) = ", kafka, re.MULTILINE):
        yield f"{name}: a secret stands in a ConfigMap"
    if not re.search(r"^hmac_key_file = ", kafka, re.MULTILINE):
        yield f"{name}: hmac_key_file, or replicas would not believe each other's decisions"
    for key, file in re.findall(r'^(\w+_file) = "(.+)"$', kafka, re.MULTILINE):
        folder, _, base = file.rpartition("/")
        secret = folders.get(mounts.get(folder), {}).get("secret", {}).get("secretName")
        if not any(one["metadata"]["name"] == secret and base in one.get("data", {}) for one in of_kind(objects, "Secret")):
            yield f"{name}: {key} names {file}, and no mounted Secret has it"
    ports = {int(port) for port in re.findall(r":(\d+)", re.search(r"^bootstrap_servers = .*$", kafka, re.MULTILINE)[0])}
    policies = [one["spec"] for one in of_kind(objects, "NetworkPolicy")]
    open_to = {port["port"] for one in policies for rule in one.get("egress", []) for port in rule.get("ports", [])}
    if policies and not ports <= open_to:
        yield f"{name}: no network policy lets it reach the brokers at {sorted(ports)}"


RULES = [schema, one_replica, restricted, selectors, references, probes, bounds, disruption, streaming]


def findings(objects):
    return [finding for rule in RULES for finding in rule(objects)]


def pod_of(objects):
    return pods(objects)[0][1]["spec"]


def first(objects, kind):
    return of_kind(objects, kind)[0]


def edit(objects, old, new):
    """Changes kafka.toml."""
    for one in of_kind(objects, "ConfigMap"):
        if "kafka.toml" in one["data"]:
            assert old in one["data"]["kafka.toml"], old
            one["data"]["kafka.toml"] = one["data"]["kafka.toml"].replace(old, new)


# A fault each, and a word of the finding that must come of it.
FAULTS = [
    (lambda all: pod_of(all)["containers"][0].update(imagePullPolice="Always"), "imagePullPolice"),
    (lambda all: first(all, "StatefulSet")["spec"].update(replicas="one"), "replicas"),
    (lambda all: first(all, "StatefulSet")["spec"].update(replicas=2), "one replica"),
    (lambda all: all.append({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"}}), "autoscaler"),
    (lambda all: pod_of(all)["securityContext"].update(runAsUser=0), "runAsNonRoot"),
    (lambda all: pod_of(all)["securityContext"].pop("seccompProfile"), "seccompProfile"),
    (lambda all: pod_of(all).update(hostNetwork=True), "host"),
    (lambda all: pod_of(all).pop("automountServiceAccountToken"), "token"),
    (lambda all: pod_of(all)["volumes"].append({"name": "etc", "hostPath": {"path": "/etc"}}), "volume etc"),
    (lambda all: pod_of(all)["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False), "read-only root"),
    (lambda all: pod_of(all)["containers"][0]["securityContext"].update(capabilities={"add": ["NET_ADMIN"]}), "capability"),
    (lambda all: first(all, "Service")["spec"].update(selector={"app": "other"}), "does not find the pod"),
    (lambda all: first(all, "PodDisruptionBudget")["spec"]["selector"].update(matchLabels={"app": "x"}), "does not find the pod"),
    (lambda all: first(all, "NetworkPolicy")["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"].update(more="x"), "clients"),
    (lambda all: pod_of(all)["volumes"][0]["configMap"].update(name="gone"), "does not exist"),
    (lambda all: first(all, "StatefulSet")["spec"].update(serviceName="gone"), "governing"),
    (lambda all: pod_of(all)["containers"][0]["readinessProbe"]["httpGet"].update(path="/ready"), "readinessProbe"),
    (lambda all: pod_of(all).update(terminationGracePeriodSeconds=25), "terminationGracePeriodSeconds"),
    (lambda all: pod_of(all)["containers"][0]["resources"]["limits"].update(memory="256Mi"), "memory limit"),
    (lambda all: first(all, "StatefulSet")["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"].update(storage="1Gi"), "the volume"),
    (lambda all: pod_of(all)["containers"][0]["resources"].pop("limits"), "requests and limits"),
    (lambda all: first(all, "PodDisruptionBudget")["spec"].update(maxUnavailable=0), "PodDisruptionBudget"),
]

# The same for what has a stream.
STREAM_FAULTS = [
    (lambda all: first(all, "StatefulSet")["spec"].update(replicas=13), "partitions"),
    (lambda all: edit(all, "partitions = 12", "partitions = 12\nlanes = 13"), "partitions"),
    (lambda all: edit(all, "partitions = 12", "partitions = 12\nlanes = 2"), "memory limit"),
    (lambda all: edit(all, 'drain_timeout = "5s"', 'drain_timeout = "20s"'), "terminationGracePeriodSeconds"),
    (lambda all: pod_of(all)["containers"][0]["args"].pop(), "--config"),
    (lambda all: pod_of(all)["containers"][0].pop("env"), "kafka.instance"),
    (lambda all: edit(all, "hmac_key_file = ", "# "), "hmac_key_file"),
    (lambda all: edit(all, "password_file = ", "password = "), "ConfigMap"),
    (lambda all: edit(all, "kafka-secrets/hmac-key", "kafka-secrets/key"), "no mounted Secret"),
    (lambda all: edit(all, ":9093", ":9092"), "brokers"),
]


def main(paths):
    wrong, plain, streams = [], [], []
    for path in paths:
        objects = [one for one in yaml.safe_load_all(pathlib.Path(path).read_text()) if one]
        wrong += [f"{pathlib.Path(path).stem}: {finding}" for finding in findings(objects)]
        (streams if stream(objects) else plain).append(objects)
        print(f"  ..  {pathlib.Path(path).stem}: {len(objects)} objects{', with a stream' * bool(stream(objects))}")
    if wrong:
        sys.exit("k8s test: FAILED\n" + "\n".join(f"  {finding}" for finding in wrong))
    if not plain or not streams:
        sys.exit("k8s test: FAILED: one build without a stream and one with it are judged, at least")
    put_in = [(plain[-1], *fault) for fault in FAULTS] + [(streams[-1], *fault) for fault in STREAM_FAULTS]
    for place, (objects, put, word) in enumerate(put_in):
        faulty = copy.deepcopy(objects)
        put(faulty)
        if not any(word in finding for finding in findings(faulty)):
            sys.exit(f"k8s test: FAILED: fault {place} ({word}) was not found: {findings(faulty)}")
    print(f"k8s test: passed: {len(RULES)} rules, and {len(put_in)} faults put in were all found")


if __name__ == "__main__":
    main(sys.argv[1:])
