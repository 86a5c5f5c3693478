/* Fencing and quarantine: three nodes, two daemons, and one node that loses all its data once.
 *
 * The model has no time; order stands for it. The validity of a lease ends before the nodes' keys expire. A
 * quarantine ends when everything that began before the loss has ended: this models the wait for the longest
 * TTL. By then the wall clocks, from which fences are proposed, have passed every fence proposed before the
 * loss; this assumes that the daemons' clocks differ by less.
 *
 * tests/model/run checks this, and that it fails WITHOUT_QUARANTINE, WITHOUT_MARK_IN_THE_GRANT or
 * WITHOUT_FENCE_COMPARISON. -DMORE=1 gives the second daemon as many attempts as the first. */

#define NODES 3
#define QUORUM 2
#define LOST_NODE 0 /* any node: all are alike */
#define NOBODY 0
#ifndef MORE
#define MORE 0
#endif
#define ATTEMPTS(d) (d == 0 -> 2 : 1 + MORE)

byte holder[NODES]; /* daemon + 1 */
byte fence[NODES];
bool marked[NODES] = true;

bool busy[2]; /* an attempt or its lease is under way */
bool valid[2];  /* a client trusts the lease */
bool expired[2]; /* a key of the attempt has expired on some node: the attempt must not win any more */
byte begun[2];  /* attempts so far */
byte clock = 1; /* the daemons' wall clocks, which agree except for `behind` */
byte last_fence;

bool waits_for[2]; /* the attempts that were under way at the loss */
byte begun_then[2];

/* One request: it never arrives, or the script, which is atomic on its node, refuses or grants, and the
 * reply arrives or is lost. */
inline ask(d, n, proposal, granted) {
  atomic {
    if
    :: true /* the request is lost */
    :: holder[n] == NOBODY &&
#ifndef WITHOUT_MARK_IN_THE_GRANT
       marked[n] &&
#endif
#ifndef WITHOUT_FENCE_COMPARISON
       proposal > fence[n] &&
#endif
       true ->
       holder[n] = d + 1;
       fence[n] = proposal;
       if
       :: granted = granted + 1
       :: true /* the reply is lost, the grant is not */
       fi
    fi
  }
}

inline let_go(d, n) {
  d_step {
    if
    :: holder[n] == d + 1 -> holder[n] = NOBODY
    :: else
    fi
  }
}

/* Each daemon asks the nodes in its own order, and all its requests interleave with everything else. */
proctype Daemon(byte d; byte first; byte second; byte third) {
  byte granted, proposal;
  do
  :: begun[d] < ATTEMPTS(d) ->
     atomic {
       begun[d] = begun[d] + 1;
       busy[d] = true;
       /* One clock may be behind the other: then the daemon proposes an old fence, which is refused. */
       if
       :: clock = clock + 1; proposal = clock
       :: proposal = clock
       fi
     }
     ask(d, first, proposal, granted);
     ask(d, second, proposal, granted);
     ask(d, third, proposal, granted);
     if
     :: atomic {
          granted >= QUORUM && !expired[d] ->
          assert(!valid[1 - d]);
          assert(proposal > last_fence);
          valid[d] = true;
          last_fence = proposal
        }
        /* The lease is used and ends: released, lost, or expired. The client's trust ends first. */
        valid[d] = false
     :: else
     fi;
     /* The release or the roll-back runs; or neither arrives, and the keys expire. */
     let_go(d, first);
     let_go(d, second);
     let_go(d, third);
     atomic {
       busy[d] = false;
       expired[d] = false;
       granted = 0;
       proposal = 0
     }
  :: else -> break
  od
}

/* The keys of an attempt that takes too long expire during it: once, on any node. */
proctype Expiry() {
  byte n;
  if
  :: n = 0
  :: n = 1
  :: n = 2
  fi;
  atomic {
    holder[n] != NOBODY && !valid[holder[n] - 1] ->
    expired[holder[n] - 1] = true;
    holder[n] = NOBODY
  }
}

proctype Loss() {
  atomic {
    holder[LOST_NODE] = NOBODY;
    fence[LOST_NODE] = 0;
    marked[LOST_NODE] = false;
    waits_for[0] = busy[0];
    waits_for[1] = busy[1];
    begun_then[0] = begun[0];
    begun_then[1] = begun[1]
  }
  atomic {
#ifndef WITHOUT_QUARANTINE
    (!waits_for[0] || !busy[0] || begun[0] != begun_then[0]) &&
    (!waits_for[1] || !busy[1] || begun[1] != begun_then[1]);
#endif
    marked[LOST_NODE] = true;
#ifndef WITHOUT_QUARANTINE
    /* Past every fence that was forgotten. An attempt that began before counts no late votes (node_timeout
     * is far shorter than a quarantine). */
    expired[0] = true;
    expired[1] = true;
#endif
    clock = clock + 1
  }
}

init {
  atomic {
    run Daemon(0, 0, 1, 2);
    run Daemon(1, 2, 0, 1);
    run Expiry();
    run Loss()
  }
}
