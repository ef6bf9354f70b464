#!/usr/bin/env bash
# Holds deploy/ to what can be checked without a cluster, and says what could not be had. Tools are pinned (scripts/deploy,
# and HELM below) and kept in DYNO_DEPLOY_TOOLS; they come from PyPI, npm, the Go proxy and Debian.
#
#   check-deploy.sh            all checks
#   check-deploy.sh --render   writes deploy/kubernetes from the chart, then checks
set -euo pipefail
cd "$(dirname "$0")/.."

HELM=v3.19.5
KUBERNETES=1.34
TOOLS=${DYNO_DEPLOY_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/dyno-deploy}
CHART=deploy/helm/dyno-server
PYTHON=$TOOLS/venv/bin/python

passed=0 failed=0 skipped=0
ok() { echo "ok: $*"; passed=$((passed + 1)); }
skip() { echo "skipped: $*"; skipped=$((skipped + 1)); }
wrong() { echo "FAILED: $*" >&2; failed=$((failed + 1)); }
# Runs a check and shows what it says only where it fails.
check() { # WHAT COMMAND...
  local what=$1 said
  shift
  if said=$("$@" 2>&1); then ok "$what${said:+ (${said##*$'\n'})}"; else wrong "$what"; echo "$said" >&2; fi
}

# Installs once for each state of the pins.
install() { # NAME PINS-FILE-OR-TEXT COMMAND...
  local name=$1 pins stamp=$TOOLS/$1.stamp
  pins=$(if [ -f "$2" ]; then sha256sum <"$2"; else echo "$2"; fi)
  shift 2
  [ "$(cat "$stamp" 2>/dev/null)" != "$pins" ] || return 0
  echo "installing $name into $TOOLS"
  "$@" >"$TOOLS/$name.log" 2>&1 || { tail -3 "$TOOLS/$name.log"; return 1; }
  echo "$pins" >"$stamp"
}
install_python() {
  python3 -m venv "$TOOLS/venv" &&
    "$TOOLS/venv/bin/pip" install --disable-pip-version-check --require-hashes --only-binary=:all: \
      -r scripts/deploy/requirements.txt
}
install_node() {
  mkdir -p "$TOOLS/npm" && cp scripts/deploy/package.json scripts/deploy/package-lock.json "$TOOLS/npm/" &&
    npm ci --prefix "$TOOLS/npm" --ignore-scripts --no-audit --no-fund
}
install_helm() { GOBIN=$TOOLS go install -ldflags='-s -w' "helm.sh/helm/v3/cmd/helm@$HELM"; }
install_kinds() { (cd scripts/deploy/kinds && go build -ldflags='-s -w' -o "$TOOLS/kinds" .); }
install_promtool() {
  local scratch
  scratch=$(mktemp -d)
  (cd "$scratch" && apt-get download prometheus && dpkg -x prometheus_*.deb . && cp usr/bin/promtool "$TOOLS/promtool")
  rm -rf "$scratch"
}
have() { command -v "$1" >/dev/null; }

mkdir -p "$TOOLS"
exec 9>"$TOOLS/lock"
flock 9
python=yes node=yes helm=yes kinds=yes promtool=yes
{ have python3 && install python scripts/deploy/requirements.txt install_python; } || python=
{ have npm && install node scripts/deploy/package-lock.json install_node; } || node=
{ have go && install helm "$HELM" install_helm; } || helm=
{ have go && install kinds "$(cat scripts/deploy/kinds/*)" install_kinds; } || kinds=
{ have apt-get && install promtool "$(. /etc/os-release && echo "$VERSION_ID")" install_promtool; } || promtool=
exec 9>&-

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

template() { # OPTIONS...
  "$TOOLS/helm" template dyno-server "$CHART" --namespace dyno --kube-version "$KUBERNETES" "$@"
}
header() {
  echo "# Written by scripts/check-deploy.sh --render from the chart in deploy/helm: change that instead."
  echo "# $*"
  echo "# kubectl apply --namespace dyno -f FILE"
}
render() { # FOLDER
  {
    header "The chart's defaults: no custom resources."
    template
  } >"$1/dyno-server.yaml"
  {
    header "With keys, KEDA, and the Prometheus operator's PodMonitor."
    template --set auth.keysSecret.name=dyno-keys --set autoscaling.kind=keda --set metrics.podMonitor.enabled=true
  } >"$1/dyno-server-keda.yaml"
}

if [ "$helm" ]; then
  [ "${1:-}" != --render ] || render deploy/kubernetes
  check "helm lint" "$TOOLS/helm" lint --strict --quiet "$CHART"
  render "$scratch"
  check "deploy/kubernetes is what the chart makes" diff -ru deploy/kubernetes "$scratch"
  # What the two files do not show, each through the schemas below.
  template --set bundles.source=imageVolume --set tls.secretName=t --set tls.clientCaSecret.name=c --set networkPolicy.enabled=false >"$scratch/image-volume.yaml"
  template --set bundles.source=pvc --set bundles.pvc.claimName=c --set bundles.pvc.subPath=s --set autoscaling.kind=hpa \
    --set metrics.serviceMonitor.enabled=true --set-json 'config={"max-in-flight":48,"strict":true}' >"$scratch/pvc.yaml"
  template --set bundles.source=hostPath --set bundles.hostPath.path=/srv/bundles --set serviceAccount.create=false \
    --set-json 'networkPolicy.egress=[{"ports":[{"port":4317}]}]' --set service.headless=false \
    --set auth.jwt.secretName=j --set auth.jwt.audience=dyno --set auth.jwt.issuer=backend >"$scratch/host-path.yaml"
  refused=0
  for bad in drain.timeoutSeconds=0 bundles.source=ftp nosuch=1 config.listen=x replicas=0 bundles.source=pvc auth.jwt.secretName=j \
    tls.clientCaSecret.name=c; do
    template --set "$bad" >/dev/null 2>&1 || refused=$((refused + 1))
  done
  check "values that make no sense are refused" test "$refused" = 8
else
  skip "the chart (helm $HELM needs Go)"
fi

if [ "$python" ]; then
  node_folder=-
  [ -z "$node" ] || node_folder=$TOOLS/npm
  check "schemas" "$PYTHON" scripts/deploy/validate.py objects "$KUBERNETES" "$node_folder" \
    deploy/kubernetes/*.yaml deploy/gateway-api/*.yaml "$scratch"/[hip]*.yaml
  check "agreement" "$PYTHON" scripts/deploy/validate.py agreement
  check "hadolint" "$TOOLS/venv/bin/hadolint" deploy/docker/Dockerfile deploy/docker/bundles.Dockerfile
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost \
    -keyout "$scratch/tls.key" -out "$scratch/tls.crt" 2>/dev/null
  sed "s#/etc/envoy/tls#$scratch#" deploy/envoy/envoy.yaml >"$scratch/envoy-check.yaml"
  envoy_takes_it() {
    local said
    said=$("$TOOLS/venv/bin/envoy" --mode validate --log-level warn -c "$scratch/envoy-check.yaml" 2>&1) || { echo "$said"; return 1; }
    # Warnings are of fields that are going away.
    ! grep -qi deprecated <<<"$said" || { echo "$said"; return 1; }
  }
  check "Envoy takes its configuration" envoy_takes_it
else
  skip "schemas, hadolint and Envoy (they need Python 3.11 with venv on x86-64 or arm64)"
fi

if [ "$kinds" ]; then check "types" "$TOOLS/kinds" deploy/gateway-api/gateway.yaml; else skip "Envoy Gateway's types (they need Go)"; fi

if [ "$promtool" ]; then
  check "alerts" "$TOOLS/promtool" check rules deploy/monitoring/alerts.yaml
  if [ "$python" ]; then
    "$PYTHON" scripts/deploy/validate.py queries >"$scratch/queries.yaml"
    check "queries of dashboard and autoscaler" "$TOOLS/promtool" check rules "$scratch/queries.yaml"
  fi
  check "alerts do what they say" "$TOOLS/promtool" test rules deploy/monitoring/alerts-test.yaml
else
  skip "alerts (promtool comes from Debian's package prometheus)"
fi

if have systemd-analyze; then
  # It wants the program to be there.
  sed 's#/usr/local/bin/dyno-server#/bin/true#' deploy/systemd/dyno-server.service >"$scratch/dyno-server.service"
  check "systemd unit" systemd-analyze --man=no verify "$scratch/dyno-server.service"
  check "systemd hardening" systemd-analyze security --offline=true --threshold=15 --no-pager "$scratch/dyno-server.service"
  check "systemd users" systemd-sysusers --dry-run "$PWD/deploy/systemd/dyno-server.sysusers"
else
  skip "the systemd unit (systemd-analyze comes from Debian's package systemd)"
fi

# The server itself, where it was built: it knows every flag of the manifests.
server=${CARGO_TARGET_DIR:-target}/debug/dyno-server
if [ "$python" ] && [ -x "$server" ]; then
  knows_flags() {
    local help flag
    help=$("$server" --help)
    for flag in $("$PYTHON" scripts/deploy/validate.py flags); do
      grep -q -- "^ *--$flag\b" <<<"$help" || { echo "$server has no --$flag"; return 1; }
    done
  }
  check "dyno-server knows the flags" knows_flags
else
  skip "the server's own list of flags (build dyno-server first)"
fi

check "capacity model" python3 scripts/capacity.py --test
check "picture of the model" python3 scripts/capacity.py --check-plot docs/scaling.svg

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
