// The same class as require('redlockd/testing') returns.
import testing from './testing.js';

export const { Server } = testing;
