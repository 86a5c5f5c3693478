export interface ServerOptions {
  /** The path of redlockd. Default: the environment variable `REDLOCKD`, or else `redlockd` in `PATH`. */
  binary?: string;
  /** More options for the daemon, for example `['--max-ttl', '1m']`. */
  options?: readonly string[];
}

/** A real daemon over three Redis nodes without persistence, for tests. Needs redlockd and redis-server. Clients reach
 * it through a proxy on 127.0.0.1. Nothing uses a fixed port: tests can run at the same time. */
export class Server {
  private constructor();
  /** Starts the nodes, the daemon and the proxy. */
  static start(options?: ServerOptions): Promise<Server>;
  /** The address for clients: `127.0.0.1:PORT`. It never changes. */
  readonly endpoint: string;
  /** Takes the lock away from its holder, which hears of it within milliseconds. Rejects if no client holds it. `key`: of a
   * lock of several keys, one of them. */
  lose(key: string, why?: string): Promise<void>;
  /** Holds back the bytes of all connections, in both directions, for `time` ms. */
  delay(time: number): void;
  /** Lets nothing pass any more. Connections stay open, and new ones are accepted. */
  cut(): void;
  /** Undoes `delay()` and `cut()`. What was held back passes. */
  mend(): void;
  /** Closes all connections with RST. Clients can connect again. */
  reset(): void;
  /** Ends the daemon, by SIGTERM or (`kill`) by SIGKILL, and starts it again. The locks survive. */
  restart(options?: { kill?: boolean }): Promise<void>;
  /** Suspends the daemon (SIGSTOP) until `resume()`. */
  pause(): void;
  resume(): void;
  /** Ends everything and removes its files. A second call does nothing. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
