// Validates deploy/: every Kubernetes object against its schema (from the API's OpenAPI description), the
// references between the objects, what pods must have (see checkPods), and that the other YAML and JSON files parse.
//   node validate.mjs DIRECTORY_OF_DEPLOY [RENDERED ...]
// RENDERED: the output of `kubectl kustomize` for a directory, validated in the same way.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { parseAllDocuments } from "yaml";

let faults = 0;
const fail = (where, what) => {
  console.error(`${where}: ${what}`);
  faults += 1;
};

function* filesUnder(directory) {
  for (const name of readdirSync(directory).sort()) {
    const path = join(directory, name);
    if (statSync(path).isDirectory()) yield* filesUnder(path);
    else yield path;
  }
}

// Returns the class that has the schema of e.g. "apps/v1" "Deployment".
async function modelOf(apiVersion, kind) {
  const group = apiVersion === "v1" ? "v1" : apiVersion.replace(/^(policy|apps|batch)\//, "$1/");
  for (const models of ["kubernetes-models", "@kubernetes-models/prometheus-operator"]) {
    try {
      return (await import(`${models}/${group}/${kind}`))[kind];
    } catch {
      // not in this module
    }
  }
  return undefined;
}

function parse(path) {
  return parseAllDocuments(readFileSync(path, "utf8"), { merge: true }).flatMap((document) => {
    for (const error of document.errors) fail(path, error.message);
    const value = document.toJS();
    return value == null ? [] : [value];
  });
}

// The files that a kustomization merges into others: they are only a part of an object.
function patchesOf(path) {
  const kustomization = join(dirname(path), "kustomization.yaml");
  if (!existsSync(kustomization)) return [];
  return parse(kustomization).flatMap(({ patches }) => patches ?? []).map((patch) => patch.path);
}

const objects = [];
async function checkKubernetes(path) {
  for (const object of parse(path)) {
    const name = `${path}: ${object.kind} ${object.metadata?.name ?? ""}`;
    if (["Kustomization", "Component"].includes(object.kind)) {
      for (const resource of [...(object.resources ?? []), ...(object.components ?? [])]) {
        if (!existsSync(join(dirname(path), resource))) fail(name, `the resource ${resource} does not exist`);
      }
      continue;
    }
    const Model = await modelOf(object.apiVersion, object.kind);
    if (Model === undefined) {
      fail(name, `${object.apiVersion} has no kind ${object.kind}`);
      continue;
    }
    try {
      new Model(object).validate();
    } catch (error) {
      fail(name, error.message);
    }
    objects.push({ name, object });
  }
}

const covers = (labels, selector) =>
  Object.entries(selector ?? {}).every(([key, value]) => labels?.[key] === value);

// Selectors must match the pods for which they are meant.
function checkSelectors() {
  const pods = objects
    .map(({ object }) => object.spec?.template?.metadata?.labels)
    .filter((labels) => labels !== undefined);
  const services = objects
    .filter(({ object }) => object.kind === "Service")
    .map(({ object }) => object.metadata.labels);
  for (const { name, object } of objects) {
    if (object.kind === "ServiceMonitor") {
      const { matchLabels } = object.spec.selector;
      if (!services.some((labels) => covers(labels, matchLabels))) fail(name, "selects no service");
      continue;
    }
    const selector =
      object.kind === "Service" ? object.spec.selector
        : object.kind === "NetworkPolicy" ? object.spec.podSelector.matchLabels ?? {}
          : object.spec?.selector?.matchLabels;
    if (selector !== undefined && !pods.some((labels) => covers(labels, selector))) {
      fail(name, `selects no pod: ${JSON.stringify(selector)}`);
    }
  }
}

const units = { Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, kb: 2 ** 10, mb: 2 ** 20, gb: 2 ** 30 };
const bytes = (text) => Number.parseFloat(text) * (units[text.replace(/^[\d.]+/, "")] ?? 1);

// The address of each node in a container's environment.
function nodesOf(container) {
  const nodes = container.env?.find(({ name }) => name === "REDLOCKD_NODE")?.value;
  return nodes?.split(",").map((node) => node.trim().replace(/^.*[/@]([^:]+):\d+.*$/, "$1"));
}

function checkContainer(where, container) {
  for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"]) {
    if (container[probe]?.grpc !== undefined) fail(where, `the ${probe} of ${container.name} cannot speak TLS`);
  }
  if (container.resources?.limits?.memory === undefined) fail(where, `${container.name} has no memory limit`);
  if (container.command?.[0] !== "redis-server") return;
  const option = (name) => container.args[container.args.indexOf(name) + 1];
  if (option("--maxmemory-policy") !== "noeviction") fail(where, "a node may evict locks");
  if (!(bytes(option("--maxmemory")) <= bytes(container.resources.limits.memory) / 2)) {
    fail(where, "maxmemory is more than half of the container's memory limit");
  }
}

// What every pod must have, and what the daemons must know of the nodes.
function checkPods() {
  for (const { name: where, object } of objects) {
    const pod = object.spec?.template?.spec;
    if (pod === undefined) continue;
    if (pod.automountServiceAccountToken !== false) fail(where, "the pod gets a token of the Kubernetes API");
    for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
      checkContainer(where, container);
      const nodes = nodesOf(container);
      if (nodes === undefined) continue;
      const set = objects.find((other) => other.object.kind === "StatefulSet").object;
      const names = Array.from({ length: set.spec.replicas }, (_, i) => `${set.metadata.name}-${i}.${set.spec.serviceName}`);
      if (nodes.map((node) => node.replace(/\.redlockd$/, "")).join() !== names.join()) {
        fail(where, `the nodes are ${names}, not ${nodes}`);
      }
    }
  }
}

// A policy admits only pods of its own namespace, or of namespaces with a label. A pod's label alone protects nothing:
// every namespace can have such pods.
function checkPolicies() {
  for (const { name, object } of objects) {
    for (const { from } of (object.kind === "NetworkPolicy" ? object.spec.ingress : undefined) ?? []) {
      const selects = (selector) => Object.keys(selector?.matchLabels ?? {}).length > 0;
      if (!from?.length || !from.every((peer) => selects(peer.namespaceSelector ?? peer.podSelector))) {
        fail(name, "admits pods of every namespace");
      }
    }
  }
}

const root = process.argv[2];
let files = 0;
for (const path of filesUnder(root)) {
  if (path.includes("/kubernetes/") && path.endsWith(".yaml")) {
    if (patchesOf(path).includes(basename(path))) parse(path);
    else await checkKubernetes(path);
  } else if (path.includes("/helm/") && path.includes("/templates/")) {
    continue;  // no YAML before it is rendered
  } else if (/\.ya?ml$/.test(path)) {
    parse(path);
  } else if (path.endsWith(".json")) {
    JSON.parse(readFileSync(path, "utf8"));
  } else {
    continue;
  }
  files += 1;
}
for (const path of process.argv.slice(3)) {
  const before = objects.length;
  await checkKubernetes(path);
  if (objects.length === before) fail(path, "renders no objects");
}
checkSelectors();
checkPods();
checkPolicies();
console.log(`${files} files, ${objects.length} Kubernetes objects, ${faults} errors`);
process.exit(faults === 0 ? 0 : 1);
