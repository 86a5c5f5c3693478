/* Leases of several keys: three nodes, two keys, a client that wants both and one that
 * wants one of them.
 *
 * As in redlock.pml, the model has no time: the validity of a lease ends before its keys expire. A key that
 * expires on a node that has voted in the round under way shows that the round takes longer than a TTL, so it
 * must not win any more.
 *
 * tests/model/run checks this, and that it fails WITHOUT_ALL_IN_THE_GRANT, WITHOUT_ALL_IN_THE_EXTENSION or
 * WITHOUT_FENCE_OF_ALL_KEYS. */

#define NODES 3
#define QUORUM 2
#define KEYS 2
#define CLIENTS 2
#define NOBODY 0
#ifndef EXPIRE
#define EXPIRE 2 /* so many keys expire by themselves */
#endif
#define AT(n, k) ((n) * KEYS + (k))
#define VOTE(c, n) ((c) * NODES + (n))
/* Client 0 wants both keys, client 1 only the second one. */
#define WANTS(c, k) ((c) == 0 || (k) == 1)
#define FREE(n, k) (holder[AT(n, k)] == NOBODY)
#define OURS(c, n, k) (holder[AT(n, k)] == (c) + 1)
#ifndef WITHOUT_ALL_IN_THE_GRANT
#define GRANTS(c, n) ((!WANTS(c, 0) || FREE(n, 0)) && (!WANTS(c, 1) || FREE(n, 1)))
#else
#define GRANTS(c, n) ((WANTS(c, 0) && FREE(n, 0)) || (WANTS(c, 1) && FREE(n, 1)))
#endif
#ifndef WITHOUT_FENCE_OF_ALL_KEYS
#define ABOVE(c, n, p) ((!WANTS(c, 0) || p > fence[AT(n, 0)]) && (!WANTS(c, 1) || p > fence[AT(n, 1)]))
#else
#define ABOVE(c, n, p) ((WANTS(c, 0) && p > fence[AT(n, 0)]) || (!WANTS(c, 0) && p > fence[AT(n, 1)]))
#endif
#define HAS_ALL(c, n) ((!WANTS(c, 0) || OURS(c, n, 0)) && (!WANTS(c, 1) || OURS(c, n, 1)))
#define HAS_ANY(c, n) ((WANTS(c, 0) && OURS(c, n, 0)) || (WANTS(c, 1) && OURS(c, n, 1)))
#ifndef WITHOUT_ALL_IN_THE_EXTENSION
#define EXTENDS(c, n) HAS_ALL(c, n)
#else
#define EXTENDS(c, n) HAS_ANY(c, n)
#endif
#define MAY_HEAL(c, n) ((!WANTS(c, 0) || FREE(n, 0) || OURS(c, n, 0)) && (!WANTS(c, 1) || FREE(n, 1) || OURS(c, n, 1)))

byte holder[6]; /* client + 1, by node and key */
byte fence[6];
bool valid[CLIENTS]; /* the client trusts its lease */
bool late[CLIENTS];  /* the round under way takes longer than a TTL */
bool voted[6];       /* in the round under way, by client and node */
byte clock = 1;
byte last_fence[KEYS];

inline take(c, n, k, f) {
  if
  :: WANTS(c, k) && (FREE(n, k) || OURS(c, n, k)) ->
     holder[AT(n, k)] = c + 1;
     fence[AT(n, k)] = (f > fence[AT(n, k)] -> f : fence[AT(n, k)])
  :: else
  fi
}

/* One request of an acquisition: it never arrives, or the script grants all keys or none, and the reply
 * arrives or is lost. */
inline ask(c, n, proposal, granted) {
  atomic {
    if
    :: true
    :: GRANTS(c, n) && ABOVE(c, n, proposal) ->
       take(c, n, 0, proposal);
       take(c, n, 1, proposal);
       voted[VOTE(c, n)] = true;
       if
       :: granted = granted + 1
       :: true
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

/* After a quorum has confirmed the lease: a node without some of its keys gets them back, unless another
 * client has one. It does not vote. */
inline heal(c, n, proposal) {
  atomic {
    if
    :: true
    :: valid[c] && !HAS_ALL(c, n) && MAY_HEAL(c, n) ->
       take(c, n, 0, proposal);
       take(c, n, 1, proposal)
    fi
  }
}

inline let_go(c, n) {
  d_step {
    if
    :: OURS(c, n, 0) -> holder[AT(n, 0)] = NOBODY
    :: else
    fi;
    if
    :: OURS(c, n, 1) -> holder[AT(n, 1)] = NOBODY
    :: else
    fi
  }
}

inline next_round(c) {
  granted = 0;
  late[c] = false;
  voted[VOTE(c, 0)] = false;
  voted[VOTE(c, 1)] = false;
  voted[VOTE(c, 2)] = false
}

/* Nobody else trusts the key that both clients want. */
inline trust(c) {
  assert(!valid[1 - c]);
  valid[c] = true
}

inline check_fence(c, k) {
  if
  :: WANTS(c, k) -> assert(proposal > last_fence[k]); last_fence[k] = proposal
  :: else
  fi
}

proctype Client(byte c; byte first; byte second; byte third) {
  byte granted, proposal;
  atomic {
    if
    :: clock = clock + 1; proposal = clock
    :: proposal = clock /* this clock is behind another one */
    fi;
    next_round(c)
  }
  ask(c, first, proposal, granted);
  ask(c, second, proposal, granted);
  ask(c, third, proposal, granted);
  if
  :: atomic {
       granted >= QUORUM && !late[c] ->
       trust(c);
       check_fence(c, 0);
       check_fence(c, 1)
     };
     if
     :: c == 0 -> /* the lease of both keys is extended once; its validity may end before */
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
           heal(c, second, proposal);
           heal(c, third, proposal)
        :: else
        fi
     :: else
     fi;
     valid[c] = false
  :: else
  fi;
  let_go(c, first);
  let_go(c, second);
  let_go(c, third)
}

inline expire(n, k) {
  holder[AT(n, k)] != NOBODY && !valid[holder[AT(n, k)] - 1] ->
  late[holder[AT(n, k)] - 1] = late[holder[AT(n, k)] - 1] || voted[VOTE(holder[AT(n, k)] - 1, n)];
  holder[AT(n, k)] = NOBODY
}

/* Keys expire one by one, on any node, once the client does not trust its lease. */
proctype Expiry() {
  byte left = EXPIRE;
  do
  :: left > 0 ->
     atomic {
       if
       :: expire(0, 0)
       :: expire(0, 1)
       :: expire(1, 0)
       :: expire(1, 1)
       :: expire(2, 0)
       :: expire(2, 1)
       fi;
       left = left - 1
     }
  :: true -> break
  od
}

init {
  atomic {
    run Client(0, 0, 1, 2);
    run Client(1, 1, 2, 0);
    run Expiry()
  }
}
