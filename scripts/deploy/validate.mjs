// Holds objects of KEDA, the Prometheus operator and the Gateway API (JSON lines on stdin) to the schemas of
// their resources, as @kubernetes-models carries them: required fields, types, enums; not unknown fields.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const folder = process.argv[2];
const require = createRequire(`${folder}/`);
const packages = {
  "keda.sh": "@kubernetes-models/keda",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
};

let failed = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const object = JSON.parse(line);
  const [group, version] = object.apiVersion.split("/");
  const { [object.kind]: Kind } = require(`${folder}/node_modules/${packages[group]}/${group}/${version}/${object.kind}.js`);
  try {
    new Kind(object).validate();
  } catch (error) {
    console.error(`${object.kind} ${object.metadata?.name}: ${error.message}`);
    failed += 1;
  }
}
process.exit(failed > 0 ? 1 : 0);
