// The implementation has the members that the declarations promise, with results that fit, and no other public ones.
import type { Client } from 'source/lib/client.js';
import type { Election } from 'source/lib/election.js';
import type { Lease } from 'source/lib/detached.js';
import type { Lock } from 'source/lib/lock.js';
import type { Observer } from 'source/lib/observer.js';
import type { Watch } from 'source/lib/watch.js';
import type { Server } from 'source/testing/server.js';
import type * as declared from 'redlockd';
import type * as testing from 'redlockd/testing';

// Symbols apart: inspect.custom is not declared.
type Names<Type> = keyof Type & string;
type Missing<Left, Right> = Exclude<Names<Left>, Names<Right>> | Exclude<Names<Right>, Names<Left>>;
type Same<Left, Right> = [Missing<Left, Right>] extends [never] ? true : Missing<Left, Right>;
// What a member returns, or is.
type Result<Type> = Type extends (...values: never[]) => infer Value ? Value : Type;
// tsc finds `any` for what it cannot tell from JavaScript.
type IsAny<Type> = 0 extends 1 & Type ? true : false;
type Fits<Implementation, Declared> = {
  [Name in keyof Declared]: Name extends keyof Implementation
    ? (IsAny<Implementation[Name]> extends true ? true
      : [Result<Implementation[Name]>] extends [Result<Declared[Name]>] ? true : [Name, Result<Implementation[Name]>])
    : never };
type All<Type> = { [Name in keyof Type]: true };

const yes = true;
yes satisfies Same<Client, declared.Client>;
yes satisfies Same<Lock, declared.Lock>;
yes satisfies Same<Lease, declared.Lease>;
yes satisfies Same<Watch, declared.Watch>;
yes satisfies Same<Observer, declared.Observer>;
yes satisfies Same<Election, declared.Election>;
yes satisfies Same<Server, testing.Server>;

// These classes have private members, so a function that returns one of them is compatible only with itself.
declare const lock: Fits<Lock, Omit<declared.Lock, 'downgrade'>>;
lock satisfies All<typeof lock>;
declare const lease: Fits<Lease, declared.Lease>;
lease satisfies All<typeof lease>;
declare const watch: Fits<Watch, declared.Watch>;
watch satisfies All<typeof watch>;
declare const observer: Fits<Observer, Pick<declared.Observer, 'next' | typeof Symbol.asyncDispose>>;
observer satisfies All<typeof observer>;
declare const election: Fits<Election, Omit<declared.Election, 'campaign' | 'observe'>>;
election satisfies All<typeof election>;
declare const server: Fits<Server, testing.Server>;
server satisfies All<typeof server>;
declare const client: Fits<Client, Pick<declared.Client, 'close' | 'release' | 'proclaim' | typeof Symbol.asyncDispose>>;
client satisfies All<typeof client>;
