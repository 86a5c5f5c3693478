package io.redlockd.verification;

import com.google.gson.annotations.SerializedName;
import java.time.Duration;
import java.util.List;

/** A step of a conformance scenario, as client/conformance/README.md describes it. */
final class Step {
  @SerializedName("do")
  String action;

  String key;
  List<String> keys;
  boolean shared;

  @SerializedName("max_holders")
  Integer maxHolders;

  @SerializedName("whole_key")
  String wholeKey;

  Double ttl;

  @SerializedName("wait")
  Double longest;

  String owner;
  String value;

  @SerializedName("lock_delay")
  Double lockDelay;

  @SerializedName("keep_for")
  Double keepFor;

  String token;
  String of;
  Double margin;
  Retry retry;
  boolean raises;
  String as;
  String fails;
  String message;

  @SerializedName("held_for")
  Double heldFor;

  @SerializedName("may_fail")
  String mayFail;

  Double within;
  Double after;
  boolean gets;
  boolean is;
  String lock;
  String waiter;
  List<String> locks;
  boolean differ;

  @SerializedName("at_least")
  double atLeast;

  @SerializedName("at_most")
  double atMost;

  String observer;
  String state;
  String watch;
  String what;
  List<Step> items;
  Double interval;

  @SerializedName("keep_watching")
  boolean keepWatching;

  int count;
  double most;
  boolean detached;
  List<Step> steps;
  double time;
  String command;

  /** A retry policy. */
  static final class Retry {
    @SerializedName("max_retries")
    int maxRetries = -1;

    @SerializedName("min_delay")
    double minDelay;

    @SerializedName("max_jitter")
    double maxJitter = 0.3;
  }

  /** The text that stands for a value that is too long is short. */
  String published() {
    return "VALUE_OF_4097_BYTES".equals(value) ? "x".repeat(4097) : value;
  }

  static Duration seconds(double seconds) {
    return Duration.ofNanos(Math.round(seconds * 1e9));
  }

  /** How long the step waits for something to happen. */
  double patience() {
    return within == null ? 20 : within;
  }
}
