package io.redlockd.internal.core;

/** Names one hold: a token may hold several keys. */
record LockId(String key, String token) {
  @Override
  public String toString() {
    return KeyNames.inWords(key); // a token is a secret
  }
}
