// Compares the Helm chart with the kustomization that has the same parts.
//   node chart.mjs KUSTOMIZED CHART     what `kustomize build` and `helm template redlockd` print
// Both must say the same about every object. They differ only in names and labels that tell releases apart.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { parseAllDocuments } from "yaml";

const read = (text) => parseAllDocuments(text).map((document) => document.toJS()).filter((object) => object !== null);

const releaseLabels = ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"];

// Removes what only one of the two needs, and sorts what has no order.
function normalized(value, key) {
  if (Array.isArray(value)) {
    const items = value.map((item) => normalized(item));
    return ["env", "volumes", "volumeMounts"].includes(key) ? items.sort((a, b) => (a.name < b.name ? -1 : 1)) : items;
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.keys(value)
      .filter((name) => !releaseLabels.includes(name) && !["namespace", "imagePullPolicy"].includes(name))
      .sort()
      .map((name) => [name, normalized(value[name], name)])
      .filter(([name, item]) => !(["labels", "matchLabels"].includes(name) && Object.keys(item).length === 0)),
  );
}

// Of the labels of the objects themselves, only those of Services select anything.
function described(object) {
  if (object.kind !== "Service") delete object.metadata.labels;
  return [`${object.kind} ${object.metadata.name}`, normalized(object)];
}
const byName = (objects) => new Map(objects.map(described));

const [kustomized, chart] = process.argv.slice(2).map((path) => readFileSync(path, "utf8"));
const expected = byName(read(kustomized));
// Helm creates the namespace itself, and a chart must not restrict other pods of the namespace.
expected.delete("Namespace redlockd");
expected.delete("NetworkPolicy default");
const found = byName(read(chart.replaceAll(/\bredlockd-(redis|metrics)/g, "$1")));
// In place of the policy for the whole namespace.
const nodes = found.get("NetworkPolicy redis");
if (!isDeepStrictEqual(nodes.spec.policyTypes, ["Ingress", "Egress"])) fail("the nodes may open connections");
nodes.spec.policyTypes = ["Ingress"];

function fail(what) {
  console.error(`the chart and ${process.argv[2]}: ${what}`);
  process.exitCode = 1;
}

// Prints the first difference of two values.
function explain(where, one, other) {
  if (isDeepStrictEqual(one, other)) return;
  const objects = [one, other].every((value) => typeof value === "object" && value !== null);
  if (!objects) {
    fail(`${where} is ${JSON.stringify(one)} and, in the chart, ${JSON.stringify(other)}`);
    return;
  }
  for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) explain(`${where}.${key}`, one[key], other[key]);
}

for (const name of new Set([...expected.keys(), ...found.keys()])) {
  if (!expected.has(name)) fail(`only the chart has ${name}`);
  else if (!found.has(name)) fail(`the chart has no ${name}`);
  else explain(name, expected.get(name), found.get(name));
}
