// The error of all calls. `reason`: as in proto/redlock/v1/lock_service.proto, or UNREACHABLE if no daemon answered.
// `retryAfter`: the delay before a retry, in ms; undefined if a retry does not help.
export class LockError extends Error {
  constructor(reason, message, retryAfter) {
    super(message);
    this.name = 'LockError';
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

export const errorOf = (status) => new LockError(status.reason, status.message, status.retryDelay);

export const closedError = () => new LockError('CANCELLED', 'the client is closed; make a new one');
