/* Fencing and quarantine: three nodes, two daemons, one node that forgets everything once.
 *
 * Time is left out; what stands for it is order. The validity of a lease ends before the nodes' keys
 * expire. A quarantine ends when everything that was begun before the loss has ended: that is what
 * waiting for the longest TTL means. By then the wall clocks, from which fences are proposed, are past
 * every fence proposed before the loss: that daemons' clocks differ by less is an assumption.
 *
 * tests/model/run checks this, and that it breaks WITHOUT_QUARANTINE, WITHOUT_MARK_IN_THE_GRANT or
 * WITHOUT_FENCE_COMPARISON. -DMORE=1 gives the second daemon as many attempts as the first. */

#define NODES 3
#define QUORUM 2
#define LOST_NODE 0 /* any: they are alike */
#define NOBODY 0
#ifndef MORE
#define MORE 0
#endif
#define ATTEMPTS(d) (d == 0 -> 2 : 1 + MORE)

byte holder[NODES]; /* daemon + 1 */
byte fence[NODES];
bool marked[NODES] = true;

bool busy[2]; /* an attempt or its lease is under way */
bool valid[2];  /* somebody believes in the lease */
bool expired[2]; /* a key of the attempt has expired on some node: it must not win any more */
byte begun[2];  /* attempts so far */
byte clock = 1; /* the daemons' wall clocks, which agree but for `behind` */
byte last_fence;

bool waits_for[2]; /* what was under way then */
byte begun_then[2];

/* One request: it never arrives; or the script, which is atomic on its node, refuses or grants, and the
 * answer arrives or is lost. */
inline ask(d, n, proposal, granted) {
  atomic {
    if
    :: true /* lost on its way */
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
       :: true /* the answer is lost, the grant is not */
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

/* Each asks the nodes in its own order, and all its requests interleave with everything else. */
proctype Daemon(byte d; byte first; byte second; byte third) {
  byte granted, proposal;
  do
  :: begun[d] < ATTEMPTS(d) ->
     atomic {
       begun[d] = begun[d] + 1;
       busy[d] = true;
       /* A clock may be behind the other's: then an old number is proposed, and refused. */
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
        /* It is used, and ends: given back, lost, or expired. The belief ends first. */
        valid[d] = false
     :: else
     fi;
     /* The release, or the roll-back; or neither arrives, and the keys expire. */
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

/* Keys of an attempt that takes too long expire under it: once, anywhere. */
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
    /* Past every fence that was forgotten; and an attempt that was begun before counts no late votes
     * (node_timeout is far shorter than a quarantine). */
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
