// Validates deploy/: every Kubernetes object against its schema (from the API's OpenAPI description), the
// references between the objects, and that the other YAML and JSON files parse.
//   node validate.mjs DIRECTORY_OF_DEPLOY [RENDERED ...]
// RENDERED: the output of `kubectl kustomize` for a directory, validated in the same way.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
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

const objects = [];
async function checkKubernetes(path) {
  for (const object of parse(path)) {
    const name = `${path}: ${object.kind} ${object.metadata?.name ?? ""}`;
    if (object.kind === "Kustomization") {
      for (const resource of object.resources) {
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
        : object.kind === "NetworkPolicy" ? object.spec.podSelector.matchLabels
          : object.spec?.selector?.matchLabels;
    if (selector !== undefined && !pods.some((labels) => covers(labels, selector))) {
      fail(name, `selects no pod: ${JSON.stringify(selector)}`);
    }
  }
}

const root = process.argv[2];
let files = 0;
for (const path of filesUnder(root)) {
  if (path.includes("/kubernetes/")) {
    await checkKubernetes(path);
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
console.log(`${files} files, ${objects.length} Kubernetes objects, ${faults} errors`);
process.exit(faults === 0 ? 0 : 1);
