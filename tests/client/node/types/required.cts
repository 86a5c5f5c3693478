// The same declarations by require().
import redlockd = require('redlockd');
import testing = require('redlockd/testing');

export const use = async (server: testing.Server): Promise<redlockd.Lock> => new redlockd.Client(server.endpoint).acquire('k');
