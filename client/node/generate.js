'use strict';

// Writes generated/messages.js, the messages of the API, from the proto. `npm install` in this directory and
// `npm pack` run it. The package contains the result, and neither the proto nor this script.

const { cpSync, existsSync, mkdirSync } = require('node:fs');
const path = require('node:path');
const { pbjs } = require('protobufjs-cli');

const proto = [path.join(__dirname, 'proto'), path.join(__dirname, '../../proto')].find((directory) => existsSync(directory));
const licence = path.join(__dirname, '../../LICENSE');

mkdirSync(path.join(__dirname, 'generated'), { recursive: true });
if (existsSync(licence)) cpSync(licence, path.join(__dirname, 'LICENSE'));
pbjs.main([
  '--target', 'static-module', '--wrap', 'commonjs', '--root', 'redlockd', '--path', proto,
  ...['create', 'verify', 'convert', 'delimited', 'comments', 'typeurl', 'service'].map((part) => `--no-${part}`),
  '--out', path.join(__dirname, 'generated/messages.js'),
  'redlock/v1/lock_service.proto', 'redlock/v1/admin_service.proto', 'google/rpc/status.proto', 'google/rpc/error_details.proto',
], (error) => { if (error) throw error; });
