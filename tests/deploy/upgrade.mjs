// Compares what is applied before and after an upgrade of the daemon.
//   node upgrade.mjs BEFORE AFTER     the output of `kubectl kustomize` with both versions
// The daemon's image must change, and nothing else: a change of the nodes would restart them.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { parseAllDocuments } from "yaml";

const [before, after] = process.argv.slice(2).map((path) => new Map(
  parseAllDocuments(readFileSync(path, "utf8"))
    .map((document) => document.toJS())
    .map((object) => [`${object.kind} ${object.metadata.name}`, object]),
));
const fail = (what) => {
  console.error(`upgrade of the daemon: ${what}`);
  process.exitCode = 1;
};

const daemon = "Deployment redlockd";
if (!isDeepStrictEqual([...before.keys()], [...after.keys()])) fail("adds or removes objects");
for (const [name, object] of before) {
  if (name === daemon) continue;
  if (!isDeepStrictEqual(object, after.get(name))) fail(`changes ${name}`);
}
const image = (objects) => {
  const [container] = objects.get(daemon).spec.template.spec.containers;
  const { image: found } = container;
  container.image = "";
  return found;
};
const images = [image(before), image(after)];
if (images[0] === images[1]) fail(`leaves the image ${images[0]}`);
if (!isDeepStrictEqual(before.get(daemon), after.get(daemon))) fail(`changes more of ${daemon} than its image`);

// How the nodes are updated if they change: one at a time, and the next one only after the last is ready.
const nodes = before.get("StatefulSet redis");
const budget = before.get("PodDisruptionBudget redis");
const quorum = Math.floor(nodes.spec.replicas / 2) + 1;
if (nodes.spec.updateStrategy.type !== "RollingUpdate") fail("the nodes are not updated one by one");
if ((nodes.spec.updateStrategy.rollingUpdate?.maxUnavailable ?? 1) !== 1) fail("several nodes are updated at a time");
if (!nodes.spec.template.spec.containers[0].readinessProbe) fail("the next node is updated before the last is ready");
// An update and an eviction may coincide.
if (nodes.spec.replicas - 1 - budget.spec.maxUnavailable < quorum) fail("evictions leave no quorum during an update");
