// node example.mjs [HOST:PORT]: acquires a lock, works while it is held, and releases it.
import { Client } from 'redlockd';

const client = new Client(process.argv[2] ?? process.env.REDLOCK_SERVER ?? '127.0.0.1:50051');
await client.using('reports', { ttl: 30_000, wait: 10_000 }, async (lock) => {
  console.log('fencing token', lock.fencingToken);
  for (let page = 1; page <= 3 && !lock.lost.aborted; page += 1) {
    console.log('page', page);
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
});
await client.close();
