// The package as users get it. CLIENT: where its tarball is installed, PROJECT/node_modules/redlockd. SOURCE: where it was
// packed, with its development tools. TARBALL: the package. Without them, the tests are skipped.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import test, { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { CLIENT } from './installed.js';

const { SOURCE, TARBALL } = process.env;
const options = { skip: SOURCE && TARBALL ? false : 'SOURCE or TARBALL is not set', timeout: 300_000 };
const HERE = path.dirname(fileURLToPath(import.meta.url));
const run = promisify(execFile);

let project; // beside node_modules, so that the package is found

before(() => {
  if (options.skip) return;
  project = mkdtempSync(path.join(CLIENT, '../../project-'));
});

after(() => { if (project) rmSync(project, { recursive: true }); });

const tool = async (name, ...values) => {
  const file = path.join(SOURCE, 'node_modules/.bin', name);
  try {
    return (await run(file, values, { cwd: project })).stdout;
  } catch (error) {
    throw new Error(`${name}: ${error.stdout}${error.stderr}`);
  }
};

test('the package contains what it needs, and nothing else', options, () => {
  const names = readdirSync(CLIENT, { recursive: true });
  for (const name of ['LICENSE', 'README.md', 'generated/messages.js', 'index.js', 'index.mjs', 'index.d.ts', 'index.d.mts',
    'testing.js', 'testing.mjs', 'testing.d.ts', 'testing.d.mts']) assert.ok(names.includes(name), name);
  for (const name of names) assert.doesNotMatch(name, /conformance|example|generate\.js|\.test\.|\.proto$|package-lock/);
  const manifest = JSON.parse(readFileSync(path.join(CLIENT, 'package.json')));
  for (const field of ['description', 'keywords', 'license', 'author', 'repository', 'homepage', 'bugs', 'engines', 'types']) {
    assert.ok(manifest[field], field);
  }
});

test('publint finds nothing', options, async () => { await tool('publint', 'run', '--strict', TARBALL); });

test('attw finds nothing', { ...options, skip: options.skip || (Number(process.versions.node.split('.')[0]) < 20 && 'needs Node 20') },
  async () => { await tool('attw', TARBALL); });

test('import and require get the same classes, which bundlers and users can rely on', options, async () => {
  writeFileSync(path.join(project, 'both.mjs'), `
    import assert from 'node:assert/strict';
    import { createRequire } from 'node:module';
    import * as imported from 'redlockd';
    import { Server } from 'redlockd/testing';
    const require = createRequire(import.meta.url);
    const required = require('redlockd');
    assert.deepEqual({ ...imported }, { ...required });
    assert.equal(Server, require('redlockd/testing').Server);
    const client = new required.Client('127.0.0.1:1');
    const error = await client.acquire('k', { wait: 0 }).catch((failed) => failed);
    assert.ok(error instanceof imported.UnreachableError && error instanceof imported.LockError && error instanceof Error);
    await client.close();`);
  writeFileSync(path.join(project, 'use.cjs'), `
    const { Client, InvalidArgumentError } = require('redlockd');
    new Client().acquire('a', 5000).catch((error) => console.log(error instanceof InvalidArgumentError));`);
  await run(process.execPath, ['both.mjs'], { cwd: project });
  assert.equal((await run(process.execPath, ['use.cjs'], { cwd: project })).stdout, 'true\n');
});

test('the declarations fit the implementation and what users write', options, async () => {
  cpSync(path.join(HERE, 'types'), project, { recursive: true });
  writeFileSync(path.join(project, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      strict: true, noEmit: true, target: 'es2022', lib: ['es2022', 'esnext.disposable'], module: 'node16',
      moduleResolution: 'node16', allowJs: true, checkJs: false, types: ['node'],
      typeRoots: [path.join(SOURCE, 'node_modules/@types')], paths: { 'source/*': [path.join(SOURCE, '*')] },
    },
    files: ['usage.mts', 'required.cts', 'implementation.mts'],
  }));
  await tool('tsc', '-p', project);
});

test('the lock file names no download addresses', () => {
  const lock = JSON.parse(readFileSync(path.join(HERE, '../../../client/node/package-lock.json')));
  const manifest = JSON.parse(readFileSync(path.join(HERE, '../../../client/node/package.json')));
  for (const [name, { resolved }] of Object.entries(lock.packages)) assert.equal(resolved, undefined, name);
  const { dependencies, devDependencies } = lock.packages[''];
  assert.deepEqual({ dependencies, devDependencies },
    { dependencies: manifest.dependencies, devDependencies: manifest.devDependencies }, 'run npm install in client/node');
});
