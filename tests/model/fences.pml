/* What one node knows of fences: it stores the fence of a key for some time after the lock, and a bound for all
 * fences that it has forgotten.
 *
 * The node's clock shows ticks. It goes on by any number of them, or jumps ahead and then back or further ahead. The
 * daemons' node guard notices a jump, and changes the node's mark before another grant counts. A daemon proposes any
 * fence. The record is that of server/redis/steps.lua. The property: a grant's fence exceeds every fence that the node
 * has ever stored for the key.
 *
 * tests/model/run checks this, and that it fails WITHOUT_FLOOR, WITHOUT_GRANT_IN_THE_RECORD,
 * WITHOUT_SEAL_IN_THE_RECORD, WITHOUT_IDLE_RULE, WITHOUT_JUMP_RULE, WITHOUT_TWO_WINDOWS or WITHOUT_WHOLE_RETENTION. */

#define KEYS 2
#define FENCES 3
#define WINDOW 2 /* ticks */
#define LAST 9   /* the last tick */
#ifndef WITHOUT_WHOLE_RETENTION
#define RETENTION (3 * WINDOW)
#else
#define RETENTION 1
#endif
#ifndef STEPS
#define STEPS 6
#endif

byte now;
byte stored[KEYS];  /* the fence in the metadata; 0: none */
byte expires[KEYS]; /* when the metadata is gone */
byte highest[KEYS]; /* that was ever stored; the node does not know it */
byte window, floor, ceiling, earlier;
byte steps;
byte jumps = 1;

inline forget() {
  if
  :: stored[0] && expires[0] <= now -> stored[0] = 0
  :: else -> skip
  fi;
  if
  :: stored[1] && expires[1] <= now -> stored[1] = 0
  :: else -> skip
  fi
}

inline note(f) {
  if
  :: now / WINDOW != window ->
#ifndef WITHOUT_IDLE_RULE
     floor = (now / WINDOW == window + 1 -> earlier : ceiling);
#else
     floor = earlier;
#endif
#ifndef WITHOUT_TWO_WINDOWS
     earlier = ceiling;
#endif
     window = now / WINDOW
  :: else -> skip
  fi;
  ceiling = (f > ceiling -> f : ceiling)
}

inline store(k, f) {
  stored[k] = f;
  expires[k] = now + RETENTION;
  highest[k] = (f > highest[k] -> f : highest[k])
}

/* A fence above the ceiling is above all that are stored, so the key's own is not looked at. */
inline grant(k, f) {
  if
  :: now / WINDOW == window && f > floor && f > ceiling ->
#ifndef WITHOUT_GRANT_IN_THE_RECORD
     note(f);
#endif
     assert(f > highest[k]);
     store(k, f)
  :: else ->
     note(f);
     if
#ifndef WITHOUT_FLOOR
     :: f > stored[k] && f > floor ->
#else
     :: f > stored[k] ->
#endif
        assert(f > highest[k]);
        store(k, f)
     :: else -> skip
     fi
  fi
}

/* A sealed release, or an extension that raises the fence. The lock is held, so its metadata exists. */
inline seal(k, f) {
  if
  :: stored[k] && f > stored[k] ->
#ifndef WITHOUT_SEAL_IN_THE_RECORD
     note(f);
#endif
     store(k, f)
  :: else -> skip
  fi
}

active proctype node() {
  byte key, fence;
  do
  :: steps < STEPS ->
     atomic {
       steps++;
       select(key : 0 .. 1);
       select(fence : 1 .. FENCES);
       if
       :: true -> grant(key, fence)
       :: true -> seal(key, fence)
       :: stored[key] -> expires[key] = now + RETENTION /* an extension */
       fi;
       if
       :: true -> select(now : now .. LAST)
       :: jumps > 0 ->
          jumps--;
          select(now : 0 .. LAST);
          forget();
          select(now : 0 .. LAST);
#ifndef WITHOUT_JUMP_RULE
          floor = ceiling;
          earlier = ceiling
#endif
       fi;
       forget();
       key = 0;
       fence = 0
     }
  :: else -> break
  od
}
