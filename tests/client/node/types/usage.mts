// Compiles only if the declarations allow what the documentation shows, and forbid what the client refuses.
import {
  Client, Election, KindMismatchError, Lease, Lock, LockAlreadyHeldError, LockError, LockLostError, LockNotHeldError, Observer, Watch,
  type Holder, type KeyState, type Logger, type WatchEvent,
} from 'redlockd';
import { Server } from 'redlockd/testing';

declare const logger: Logger;

export const use = async (): Promise<string> => {
  await using server: Server = await Server.start({ options: ['--max-ttl', '1m'] });
  await using client = new Client([server.endpoint], { grace: 1000, owner: 'me', logger, ref: true, token: async () => 'secret' });
  new Client('h:1', { logger: console });
  await using lock: Lock = await client.acquire('k', { ttl: 1000, wait: 0, retry: { maxRetries: 3 }, onQueued: (position) => position + 1 });
  const signal: AbortSignal = lock.lost;
  const fence: bigint = lock.fencingToken;
  const maybe: Lock | null = await client.tryAcquire('k', { signal });
  const lease: Lease = await client.acquireDetached('k', { token: 't' });
  await client.extend(lease.key, lease.token, 1000, { timeout: 100, retry: { minDelay: 5 } });
  await client.adopt(lease.keys, lease.token, { margin: 5 });
  const both: Lock = await client.acquire(['a', 'b'] as const, { wait: 0 });
  const keys: readonly string[] = both.keys;
  await client.tryAcquire(keys);
  const share: boolean = (await client.acquire('k', { shared: true })).shared;
  await client.tryAcquire('k', { shared: share });
  await client.using('k', { shared: true }, ({ shared }) => shared satisfies boolean);
  await client.acquireOrExtend('k', 't', { shared: true });
  await using writer = await client.acquire('k');
  await using downgraded: Lock = await writer.downgrade({ signal });
  const reader = await client.acquireDetached('k', { shared: true });
  await client.extend(reader.keys, reader.token, 1000, { shared: reader.shared });
  await client.tryExtend(reader.keys, reader.token, 1000, { shared: reader.shared });
  await client.adopt(reader.keys, reader.token, { shared: reader.shared });
  const { slot, maxHolders }: { slot: number | undefined; maxHolders: number | undefined } = await client.acquire('k', { maxHolders: 5 });
  await client.tryAcquire('k', { maxHolders });
  await client.using('k', { maxHolders: 5 }, (held) => held.slot satisfies number | undefined);
  await client.acquireOrExtend('k', 't', { maxHolders: 5 });
  const one = await client.acquireDetached('k', { maxHolders: 5 });
  await client.extend(one.keys, one.token, 1000, { maxHolders: one.maxHolders, slot: one.slot });
  await client.adopt(one.keys, one.token, { maxHolders: 5 });
  await client.tryExtend(one.keys, one.token, 1000, { maxHolders: 5, slot });
  await client.adopt(one.keys, one.token, { shared: one.shared, maxHolders: one.maxHolders, slot: one.slot });
  await client.using(keys, {}, () => {});
  await client.acquireOrExtend(keys, 't');
  await (await client.acquire('k', { value: 'v', lockDelay: 5, keepFor: 5 })).release({ keepFor: 10 });
  await client.acquireDetached('k', { value: 'v', lockDelay: 5 });
  await client.using('k', { keepFor: 5 }, () => {});
  await client.adopt('k', 't', { keepFor: 5 });
  await client.release('k', 't', { keepFor: 5, timeout: 100 });
  await lock.proclaim('v');
  await client.proclaim(keys, 't', 'v', { timeout: 100, signal });
  const observer: Observer = client.observe('k', { signal });
  for await (const state of observer) {
    state satisfies KeyState;
    const holder: Holder | undefined = state.heldBy[0];
    if (state.state === 'held' && state.fencingToken !== undefined && state.fencingToken > fence) return holder?.value ?? state.value;
  }
  await using other = client.observe('k');
  const next: IteratorResult<KeyState, undefined> = await other.next();
  const election: Election = client.election('e');
  await using leadership: Lock = await election.campaign('v', { ttl: 1000, owner: 'me', lockDelay: 5, wait: 0, signal });
  await election.proclaim(next.value?.value ?? leadership.key);
  await election.resign();
  await election.leader({ timeout: 100, signal }) satisfies KeyState;
  for await (const { message } of election.observe()) message satisfies string | undefined;
  await client.acquireDetached(keys);
  await client.tryExtend(keys, 't', 1000);
  await client.release(keys, 't');
  await client.acquireOrExtend('k', 't', { owner: 'me' });
  const watch: Watch = client.watch([
    { key: 'k', token: 't', interval: 5, shared: true }, { key: keys, token: 't' }, { key: 's', token: 't', maxHolders: 2, slot: 1 },
    { key: 'r', token: 't', maxHolders: 2 },
  ], (event: WatchEvent) => {
    if (event.type === 'lost') event.error satisfies LockLostError;
    else if (event.type === 'extended') [event.validity, event.shared, event.slot, ...event.keys] satisfies unknown[];
    else event.error satisfies Error;
  });
  await watch.close();
  const result: number = await client.using('k', {}, async (held) => Number(held.fencingToken));
  try {
    await client.release('k', 't');
  } catch (error) {
    if (error instanceof LockAlreadyHeldError) return error.heldFor === undefined ? error.reason : `${error.holder} ${error.heldFor + 1}`;
    if (error instanceof LockNotHeldError) throw error satisfies LockError;
    if (error instanceof KindMismatchError) return error.inUseAs ?? error.message;
  }

  // @ts-expect-error: a list of what is no key
  await client.acquire(['a', 5]);
  // @ts-expect-error: the keys are frozen
  lock.keys.push('other');
  // @ts-expect-error: a number for the options
  await client.acquire('a', 5000);
  // @ts-expect-error: an unknown option
  await client.acquire('a', { timeout: 5 });
  // @ts-expect-error: a string for a number
  await client.acquire('a', { ttl: '5' });
  // @ts-expect-error: a single try does not wait
  await client.tryAcquire('a', { wait: 5 });
  // @ts-expect-error: an adoption publishes nothing
  await client.adopt('k', 't', { value: 'v' });
  // @ts-expect-error: a detached lock is released by its token
  await client.acquireDetached('k', { keepFor: 5 });
  // @ts-expect-error: an observer has one key
  client.observe(['a', 'b']);
  // @ts-expect-error: a campaign has its own value
  await election.campaign('v', { value: 'v' });
  // @ts-expect-error: one leads
  await election.campaign('v', { shared: true });
  // @ts-expect-error: a release has no mode
  await client.release('k', 't', { shared: true });
  // @ts-expect-error: a release has no slot
  await client.release('k', 't', { maxHolders: 2, slot: 1 });
  // @ts-expect-error: the client finds the slot
  await client.acquire('k', { maxHolders: 2, slot: 1 });
  // @ts-expect-error: a Lock comes from a client
  new Lock();
  // @ts-expect-error: a downgrade keeps its TTL
  await downgraded.downgrade({ ttl: 5 });
  // @ts-expect-error: read only
  lock.key = 'other';
  return `${fence} ${maybe?.key} ${result}`;
};
