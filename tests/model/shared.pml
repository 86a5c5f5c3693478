/* A key that is shared: three nodes, a client that wants it exclusively, and two that share it.
 *
 * As in redlock.pml, the model has no time: the validity of a lease ends before its keys expire. A key that
 * expires on a node that has voted in the round under way shows that the round takes longer than a TTL, so it
 * must not win any more.
 *
 * tests/model/run checks this, and that it fails WITHOUT_MARKER_FOR_OTHERS, WITHOUT_MARKER_UNTIL_THE_LAST,
 * WITHOUT_SHARE_IN_THE_EXTENSION, WITHOUT_FENCE_ABOVE_SHARES or WITHOUT_FENCE_ABOVE_EXCLUSIVE. */

#define NODES 3
#define QUORUM 2
#define CLIENTS 3
#define EXCLUSIVE 0 /* the other clients share */
#ifndef EXPIRE
#define EXPIRE 1 /* so many keys expire by themselves */
#endif
#define VOTE(c, n) ((c) * NODES + (n))
#define SHARE(c, n) ((c) * NODES + (n))
#define OTHER(c) (3 - (c)) /* the other client that shares */

bool held[NODES];   /* exclusively */
bool marker[NODES]; /* at the key, while somebody shares it */
bool share[9];      /* by client and node */
byte all[NODES];    /* the highest fence of all holders */
byte alone[NODES];  /* that of exclusive holders */
bool valid[CLIENTS]; /* the client trusts its lease */
bool late[CLIENTS];  /* the round under way takes longer than a TTL */
bool voted[9];       /* in the round under way, by client and node */
byte clock = 1;
byte last_of_all, last_alone;

#ifndef WITHOUT_FENCE_ABOVE_SHARES
#define ABOVE_ALL(n, p) ((p) > all[n])
#else
#define ABOVE_ALL(n, p) ((p) > alone[n])
#endif
#ifndef WITHOUT_FENCE_ABOVE_EXCLUSIVE
#define ABOVE_ALONE(n, p) ((p) > alone[n])
#else
#define ABOVE_ALONE(n, p) true
#endif
#define GRANTS(c, n, p) ((c) == EXCLUSIVE -> (!held[n] && !marker[n] && ABOVE_ALL(n, p)) : (!held[n] && ABOVE_ALONE(n, p)))
#ifndef WITHOUT_SHARE_IN_THE_EXTENSION
#define EXTENDS(c, n) ((c) == EXCLUSIVE -> held[n] : (marker[n] && share[SHARE(c, n)]))
#else
#define EXTENDS(c, n) ((c) == EXCLUSIVE -> held[n] : marker[n])
#endif
#define HAS(c, n) ((c) == EXCLUSIVE -> held[n] : share[SHARE(c, n)])

inline take(c, n, p) {
  if
  :: c == EXCLUSIVE -> held[n] = true; alone[n] = (p > alone[n] -> p : alone[n])
  :: else -> share[SHARE(c, n)] = true; marker[n] = true
  fi;
  all[n] = (p > all[n] -> p : all[n])
}

/* A share ends on a node, by a release or because it expires. */
inline end_share(c, n) {
  share[SHARE(c, n)] = false;
  marker[n] = share[SHARE(OTHER(c), n)]
}

/* One request of an acquisition: it never arrives, or the node grants. Only client 1 loses replies, because
 * the others' lost replies add nothing but states. */
inline ask(c, n, proposal, granted) {
  atomic {
    if
    :: true
    :: GRANTS(c, n, proposal) ->
       take(c, n, proposal);
       voted[VOTE(c, n)] = true;
       if
       :: granted = granted + 1
       :: c == 1 -> skip
       fi
    fi
  }
}

/* One request of an extension. */
inline ask_again(c, n, granted) {
  atomic {
    if
    :: true
    :: EXTENDS(c, n) ->
       voted[VOTE(c, n)] = true;
       if
       :: granted = granted + 1
       :: true
       fi
    fi
  }
}

/* After a quorum has confirmed the lease: a node without it gets it back, unless another client's mode
 * excludes it. It does not vote. */
inline heal(c, n, proposal) {
  atomic {
    if
    :: true
    :: valid[c] && !HAS(c, n) && !held[n] && (c != EXCLUSIVE || !marker[n]) -> take(c, n, proposal)
    fi
  }
}

inline let_go(c, n) {
  if
  :: c == EXCLUSIVE -> held[n] = false
  :: c != EXCLUSIVE && share[SHARE(c, n)] ->
#ifndef WITHOUT_MARKER_FOR_OTHERS
     end_share(c, n)
#else
     share[SHARE(c, n)] = false; marker[n] = false
#endif
  :: else
  fi
}

inline next_round(c) {
  granted = 0;
  late[c] = false;
  voted[VOTE(c, 0)] = false;
  voted[VOTE(c, 1)] = false;
  voted[VOTE(c, 2)] = false
}

inline trust(c) {
  assert(c == EXCLUSIVE || !valid[EXCLUSIVE]);
  assert(c != EXCLUSIVE || (!valid[1] && !valid[2]));
  valid[c] = true
}

inline check_fence(c) {
  if
  :: c == EXCLUSIVE -> assert(proposal > last_of_all); last_alone = proposal
  :: else -> assert(proposal > last_alone)
  fi;
  last_of_all = (proposal > last_of_all -> proposal : last_of_all)
}

proctype Client(byte c; byte first; byte second; byte third) {
  byte granted, proposal;
  atomic {
    if
    :: clock = clock + 1; proposal = clock
    :: c != 2 -> proposal = clock /* this clock is behind another one */
    fi;
    next_round(c)
  }
  ask(c, first, proposal, granted);
  ask(c, second, proposal, granted);
  ask(c, third, proposal, granted);
  if
  :: atomic { granted >= QUORUM && !late[c] -> trust(c); check_fence(c) };
     if
     :: c == 1 -> /* its lease is extended once; its validity may end before */
        atomic { next_round(c) };
        if
        :: valid[c] = false
        :: true
        fi;
        ask_again(c, first, granted);
        ask_again(c, second, granted);
        ask_again(c, third, granted);
        if
        :: atomic { granted >= QUORUM && !late[c] -> trust(c) };
           heal(c, first, proposal);
           heal(c, third, proposal)
        :: else
        fi
     :: else
     fi;
     valid[c] = false
  :: else
  fi;
  d_step {
    let_go(c, first);
    let_go(c, second);
    let_go(c, third)
  }
}

inline expire(c, n) {
  share[SHARE(c, n)] && !valid[c] ->
  late[c] = late[c] || voted[VOTE(c, n)];
#ifndef WITHOUT_MARKER_UNTIL_THE_LAST
  end_share(c, n)
#else
  share[SHARE(c, n)] = false; marker[n] = false
#endif
}

/* Shares expire one by one, on any node, once the client does not trust its lease. redlock.pml covers keys
 * that expire for an exclusive holder. */
proctype Expiry() {
  byte left = EXPIRE;
  do
  :: left > 0 ->
     atomic {
       if
       :: expire(1, 0)
       :: expire(1, 1)
       :: expire(1, 2)
       :: expire(2, 0)
       :: expire(2, 1)
       :: expire(2, 2)
       fi;
       left = left - 1
     }
  :: break
  od
}

init {
  atomic {
    run Client(0, 0, 1, 2);
    run Client(1, 2, 1, 0);
    run Client(2, 1, 2, 0);
    run Expiry()
  }
}
