// The client under test. CLIENT: the directory of the installed package; default: the source, after `npm install` there.
import { createRequire } from 'node:module';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const CLIENT = path.resolve(process.env.CLIENT ?? fileURLToPath(new URL('../../../client/node', import.meta.url)));
export const url = (file) => pathToFileURL(path.join(CLIENT, file)).href;
export const require = createRequire(`${CLIENT}/index.js`);
export const client = await import(url('index.mjs'));
export const testing = await import(url('testing.mjs'));
