"""What no schema can say of deploy/, and the schemas of Kubernetes' own kinds.

    validate.py objects VERSION NODE_FOLDER FILE...   every object against its schema
    validate.py agreement                             numbers and names that have to agree between files
    validate.py flags                                 those of dyno-server that the manifests use
    validate.py queries                               those of dashboard and autoscaler, as rules for promtool
"""
import json
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CUSTOM = ("keda.sh/", "monitoring.coreos.com/", "gateway.networking.k8s.io/")
# Envoy Gateway's are read by kinds/, in its own types.
ELSEWHERE = ("gateway.envoyproxy.io/",)
STREAM_WINDOW = 2 << 20
# Time beyond the drain until a supervisor kills.
GRACE_S = 5


def load(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def objects(version, node_folder, paths):
    import kubernetes_validate

    errors, counts, custom = [], {"core": 0, "custom": 0}, []
    for path in map(pathlib.Path, paths):
        for document in load(path):
            name = f"{path.name}: {document['kind']} {document['metadata'].get('name')}"
            if document["apiVersion"].startswith(ELSEWHERE):
                continue
            if document["apiVersion"].startswith(CUSTOM):
                counts["custom"] += 1
                custom.append(json.dumps(document))
                continue
            counts["core"] += 1
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except Exception as error:  # its own type, or the schema's
                errors.append(f"{name}: {str(error).splitlines()[0]}")
    if node_folder != "-" and custom:
        command = ["node", str(ROOT / "scripts/deploy/validate.mjs"), node_folder]
        done = subprocess.run(command, input="\n".join(custom), text=True, stderr=subprocess.PIPE)
        if done.returncode != 0:
            errors.append(done.stderr.strip())
    elif custom:
        print(f"skipped: schemas of {counts['custom']} custom resources (no npm)")
    return errors, f"{counts['core']} objects of Kubernetes {version}, {counts['custom']} custom ones"


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)?", str(text)).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, None: 1}[unit]


def find(tree, key):
    """Every value of a key, at any depth."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from find(value, key)
    elif isinstance(tree, list):
        for item in tree:
            yield from find(item, key)


def documented_flags():
    table = (ROOT / "docs/server.md").read_text()
    return set(re.findall(r"`--([a-z0-9-]+)", table))


def documented_metrics():
    """Names that docs/server.md lists; `{model}` and units are part of it as they are written."""
    return set(re.findall(r"\b(?:dyno|process)_[a-z0-9_]+", (ROOT / "docs/server.md").read_text()))


def arguments_of(documents):
    (pod,) = [d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment"]
    return pod, dict(argument[2:].partition("=")[::2] for argument in pod["containers"][0]["args"])


def flags():
    return sorted({name for path in (DEPLOY / "kubernetes").glob("*.yaml") for name in arguments_of(load(path))[1]})


def check_drains(errors):
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        documents = load(path)
        pod, arguments = arguments_of(documents)
        drain = seconds(arguments["drain-delay"]) + seconds(arguments["drain-timeout"])
        if pod["terminationGracePeriodSeconds"] < drain + GRACE_S:
            errors.append(f"{path.name}: a grace period of {pod['terminationGracePeriodSeconds']} s for a drain of {drain} s")
        for name in sorted(arguments.keys() - documented_flags()):
            errors.append(f"{path.name}: dyno-server has no flag --{name} (docs/server.md)")
        for document in documents:
            if document["kind"] == "Service" and "headless" not in document["metadata"]["name"]:
                for port in document["spec"]["ports"]:
                    if port["name"] == "h2c" and port.get("appProtocol") != "kubernetes.io/h2c":
                        errors.append(f"{path.name}: the service's port does not say that it is HTTP/2")


def check_unit(errors):
    unit = (DEPLOY / "systemd/dyno-server.service").read_text()
    environment = (DEPLOY / "systemd/dyno-server.env").read_text()
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1])
    drain = sum(seconds(re.search(rf"^DYNO_DRAIN_{name}=(\w+)$", environment, re.M)[1]) for name in ("DELAY", "TIMEOUT"))
    if stop < drain + GRACE_S:
        errors.append(f"dyno-server.service: TimeoutStopSec={stop} for a drain of {drain} s")
    if "ExecReload=" not in unit or "-HUP" not in unit:
        errors.append("dyno-server.service: reload does not send SIGHUP")
    known = documented_flags() | {"keys-file"}
    for name in re.findall(r"^DYNO_([A-Z_]+)=", environment, re.M):
        if name.lower().replace("_", "-") not in known:
            errors.append(f"dyno-server.env: dyno-server has no variable DYNO_{name}")


def check_windows(errors):
    (envoy,) = load(DEPLOY / "envoy/envoy.yaml")
    gateway = load(DEPLOY / "gateway-api/gateway.yaml")
    windows = [
        (4 * STREAM_WINDOW, list(find(envoy, "initial_connection_window_size"))),
        (STREAM_WINDOW, list(find(envoy, "initial_stream_window_size"))),
        ("8Mi", list(find(gateway, "initialConnectionWindowSize"))),
        ("2Mi", list(find(gateway, "initialStreamWindowSize"))),
    ]
    for wanted, found in windows:
        # Both sides: towards phones and towards servers.
        if found != [wanted, wanted]:
            errors.append(f"HTTP/2 windows: {found} where {[wanted, wanted]} belong")
    retries = [*find(envoy, "retry_on"), *(",".join(triggers) for triggers in find(gateway, "triggers"))]
    if retries != ["refused-stream,connect-failure"] * 2:
        errors.append(f"retries: {retries}; a 503 must never be among them")


def check_names(errors):
    known = documented_metrics()
    if not any(name.startswith("dyno_") for name in known):
        return errors.append("docs/server.md lists no metrics")
    text = "\n".join(
        path.read_text()
        for path in [DEPLOY / "monitoring/alerts.yaml", DEPLOY / "monitoring/dashboard.json",
                     *sorted((DEPLOY / "kubernetes").glob("*.yaml"))]
    )
    for name in sorted(set(re.findall(r"\b(?:dyno|process)_[a-z0-9_]+", text))):
        spellings = {name, re.sub(r"_(bucket|sum|count)$", "", name), re.sub(r"_total$", "", name)}
        if not spellings & known:
            errors.append(f"deploy/ uses {name}, which docs/server.md does not list")
    for panel in json.loads((DEPLOY / "monitoring/dashboard.json").read_text())["panels"]:
        if not panel["targets"]:
            errors.append(f"dashboard.json: the panel {panel['title']} shows nothing")


def agreement():
    errors = []
    for check in (check_drains, check_unit, check_windows, check_names):
        check(errors)
    return errors, "drain times, flags, windows, retries and metrics agree"


def queries():
    dashboard = json.loads((DEPLOY / "monitoring/dashboard.json").read_text())
    found = list(find(dashboard["panels"], "expr"))
    found += [query for path in (DEPLOY / "kubernetes").glob("*.yaml") for query in find(load(path), "query")]
    variables = {"$job": ".*", "$__rate_interval": "1m"}
    for name, value in variables.items():
        found = [query.replace(name, value) for query in found]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(found)]
    return yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}, width=1000)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what in ("queries", "flags"):
        print(queries() if what == "queries" else "\n".join(flags()))
        sys.exit(0)
    found, summary = objects(rest[0], rest[1], rest[2:]) if what == "objects" else agreement()
    for error in found:
        print(error, file=sys.stderr)
    if found:
        sys.exit(1)
    print(summary)
