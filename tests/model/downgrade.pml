/* An exclusive lease that becomes a share: three nodes, its owner, a reader that shares the key, and another
 * writer.
 *
 * The owner holds the key exclusively, on all nodes or on two. It downgrades the lease, and repeats the
 * request if no quorum has answered. Requests of the downgrade arrive at any time, as often as they have an
 * effect.
 *
 * -DAGAIN: Then the owner releases the lease, acquires the key exclusively again with the same token, with or
 * without `extend_if_held`, and extends that lease. A node that misses the release keeps the first lease.
 * Either the reader or the writer runs: shared.pml has both kinds against each other.
 * -DONLY_TRUST: checks only who trusts the key at the same time, not the fences.
 *
 * As in shared.pml, the model has no time: a key does not expire while the owner trusts its lease. A key that
 * expires on a node that has voted in the round under way shows that the round takes longer than a TTL,
 * so it must not win any more. The marker is not modelled: it is at the key as long as a share is. shared.pml
 * shows why it must be.
 *
 * Also not modelled: late releases (they are sealed), other lost replies of the owner than those of an
 * acquisition, and keys of the reader and the writer that expire.
 *
 * tests/model/run checks this, and that it fails WITHOUT_TRUST_ENDED_FIRST, WITHOUT_FENCE_COMPARISON,
 * WITHOUT_SHARE_AT_ONCE, WITHOUT_RELEASE_ANSWERED, WITHOUT_FENCES_AGREE or WITHOUT_FENCE_OF_THE_DOWNGRADED. */

#define NODES 3
#define QUORUM 2
#define FIRST 2 /* the fence of the owner's first lease */
#ifndef EXPIRE
#define EXPIRE 1 /* so many of the owner's keys expire by themselves */
#endif

mtype = { NOBODY, OWNER, WRITER, EXCLUSIVE, SHARED };
mtype holder[NODES] = NOBODY; /* exclusively */
bool owners[NODES];  /* the owner's share */
bool readers[NODES]; /* that of the reader */
byte all[NODES];     /* the highest fence of all holders; that of the exclusive one, while there is one */
byte alone[NODES];   /* that of exclusive holders */

mtype trust = EXCLUSIVE; /* of the owner; NOBODY: it trusts nothing */
bool reading, writing;   /* the others trust their leases */
bool sent;               /* a request to downgrade the first lease */
bool voted[NODES];       /* in the owner's last round */
bool late;               /* that round takes longer than a TTL */
byte clock = FIRST;
byte last_of_all = FIRST, last_alone = FIRST;

/* Fences: an exclusive one is above all before, that of a share above those of earlier exclusive leases. */
#ifndef ONLY_TRUST
#define ASSERT_FENCE(condition) assert(condition)
#else
#define ASSERT_FENCE(condition) skip
#endif

#define MAX(a, b) ((a) > (b) -> (a) : (b))

#ifndef WITHOUT_FENCE_COMPARISON
#define IS_DOWNGRADED(n) (holder[n] == OWNER && all[n] <= FIRST)
#else
#define IS_DOWNGRADED(n) (holder[n] == OWNER)
#endif

/* The share has the fence of the exclusive lease, which the node knows as that of an exclusive holder. */
inline downgrade(n) {
  holder[n] = NOBODY;
#ifdef WITHOUT_FENCE_OF_THE_DOWNGRADED
  alone[n] = 0;
#endif
#ifndef WITHOUT_SHARE_AT_ONCE
  owners[n] = true
#endif
}

inline next_round() {
  granted = 0;
  lowest = 255;
  highest = 0;
  late = false;
  voted[0] = false;
  voted[1] = false;
  voted[2] = false
}

inline count(n, fence) {
  voted[n] = true;
  granted++;
  lowest = (fence < lowest -> fence : lowest);
  highest = MAX(fence, highest)
}

/* A request of the downgrade. A lost reply is like a lost request and a late one. */
inline ask_to_downgrade(n) {
#ifdef WITHOUT_SHARE_AT_ONCE
  atomic {
    if
    :: IS_DOWNGRADED(n) -> downgrade(n)
    :: true
    fi
  }
  atomic {
    if
    :: holder[n] == NOBODY -> owners[n] = true; count(n, FIRST)
    :: true
    fi
  }
#else
  atomic {
    if
    :: true
    :: IS_DOWNGRADED(n) -> downgrade(n); count(n, FIRST)
    :: owners[n] -> count(n, FIRST)
    fi
  }
#endif
}

/* After a quorum has confirmed the share: a node without it gets it, and has no vote. */
inline heal(n) {
  atomic {
    if
    :: true
    :: trust == SHARED && holder[n] == NOBODY && !owners[n] ->
       owners[n] = true;
       all[n] = MAX(FIRST, all[n])
    fi
  }
}

inline release(n) {
  atomic {
    if
    :: true
    :: holder[n] == OWNER -> holder[n] = NOBODY; released++; answered++
    :: owners[n] -> owners[n] = false; released++; answered++
    :: holder[n] != OWNER && !owners[n] -> answered++
    fi
  }
}

inline acquire(n) {
  atomic {
    if
    :: true
    :: holder[n] == NOBODY && !owners[n] && !readers[n] && proposal > all[n] ->
       holder[n] = OWNER;
       all[n] = proposal;
       alone[n] = proposal;
       if
       :: count(n, proposal)
       :: voted[n] = true /* the reply is lost */
       fi
    :: holder[n] == OWNER && extends_if_held -> count(n, all[n])
    fi
  }
}

/* `raise_to`: the node then stores at least this fence. */
inline extend(n) {
  atomic {
    if
    :: true
    :: holder[n] == OWNER ->
       all[n] = MAX(raise_to, all[n]);
       alone[n] = all[n];
       count(n, all[n])
    fi
  }
}

#define WINS (granted >= QUORUM && !late)
#ifndef WITHOUT_FENCES_AGREE
#define AGREE (lowest == highest)
#else
#define AGREE true
#endif

inline trust_exclusively() {
  assert(!reading && !writing);
  ASSERT_FENCE(highest >= last_of_all && highest > FIRST);
  trust = EXCLUSIVE;
  last_of_all = highest;
  last_alone = highest
}

/* Extends the exclusive lease. If the fences of the votes differ, a second round raises them. */
inline extend_on_all() {
  extend(0);
  extend(1);
  extend(2);
  if
  :: atomic {
       WINS && !AGREE ->
       raise_to = highest + 1;
       clock = MAX(raise_to, clock);
       next_round()
     }
     extend(0);
     extend(1);
     extend(2)
  :: else
  fi;
  if
  :: atomic { WINS && AGREE -> trust_exclusively() }
  :: else
  fi
}

proctype Owner() {
  byte granted, lowest, highest, released, answered, proposal, raise_to;
  bool extends_if_held, again;
downgrade_it:
  atomic {
    sent = true;
#ifndef WITHOUT_TRUST_ENDED_FIRST
    trust = NOBODY;
#endif
    next_round()
  }
  ask_to_downgrade(0);
  ask_to_downgrade(1);
  ask_to_downgrade(2);
  if
  :: atomic {
       WINS ->
       assert(!writing);
       ASSERT_FENCE(FIRST >= last_alone); /* no writer came in between */
       trust = SHARED
     }
     heal(0);
     heal(1);
     heal(2)
  :: else ->
     if
     :: !again -> again = true; goto downgrade_it
     :: true
     fi
  fi;
  atomic { trust = NOBODY; next_round() }
#ifndef AGAIN
  goto done;
#endif
  release(0);
  release(1);
  release(2);
  /* Otherwise, the release fails, and the token must not be used again. */
#ifndef WITHOUT_RELEASE_ANSWERED
  if
  :: released >= QUORUM || answered == NODES
  :: else -> goto done
  fi;
#endif
  atomic {
    released = 0;
    answered = 0;
    again = false;
    if
    :: clock++; proposal = clock
    :: proposal = clock     /* this clock is behind another one */
    :: proposal = FIRST - 1 /* far behind */
    fi;
    if
    :: extends_if_held = true
    :: true
    fi;
    next_round()
  }
  acquire(0);
  acquire(1);
  acquire(2);
  if
  :: atomic { WINS && AGREE -> trust_exclusively(); next_round() };
     if
     :: trust = NOBODY /* its validity ends before it is extended */
     :: true
     fi
  :: atomic { WINS && !AGREE -> raise_to = MAX(highest, proposal); next_round() }
  :: else -> goto done
  fi;
  extend_on_all();
done:
  skip;
  d_step {
    next_round();
    trust = NOBODY;
    proposal = 0;
    raise_to = 0;
    owners[0] = false;
    owners[1] = false;
    owners[2] = false;
    if
    :: holder[0] == OWNER -> holder[0] = NOBODY
    :: else
    fi;
    if
    :: holder[1] == OWNER -> holder[1] = NOBODY
    :: else
    fi;
    if
    :: holder[2] == OWNER -> holder[2] = NOBODY
    :: else
    fi
  }
}

/* Late and repeated requests to downgrade the first lease. */
proctype Late() {
  byte n;
end:
  do
  :: atomic { sent && IS_DOWNGRADED(0) -> downgrade(0) }
  :: atomic { sent && IS_DOWNGRADED(1) -> downgrade(1) }
  :: atomic { sent && IS_DOWNGRADED(2) -> downgrade(2) }
  od
}

inline expire(n) {
  (holder[n] == OWNER || owners[n]) && trust == NOBODY ->
  late = late || voted[n];
  owners[n] = false;
  holder[n] = (holder[n] == OWNER -> NOBODY : holder[n])
}

/* The owner's keys expire on any node, once it trusts nothing. */
proctype Expiry() {
  byte left = EXPIRE;
  do
  :: left > 0 ->
     atomic {
       if
       :: expire(0)
       :: expire(1)
       :: expire(2)
       fi;
       left--
     }
  :: break
  od
}

inline propose() {
  atomic {
    if
    :: clock++; proposal = clock
    :: proposal = clock
    fi
  }
}

inline take_share(n) {
  atomic {
    if
    :: true
    :: holder[n] == NOBODY && proposal > alone[n] ->
       readers[n] = true;
       all[n] = MAX(proposal, all[n]);
       granted++
    fi
  }
}

proctype Reader() {
  byte proposal, granted;
  propose();
  take_share(2);
  take_share(1);
  take_share(0);
  if
  :: atomic {
       granted >= QUORUM ->
       assert(trust != EXCLUSIVE && !writing);
       ASSERT_FENCE(proposal > last_alone);
       reading = true;
       last_of_all = MAX(proposal, last_of_all)
     }
     reading = false
  :: else
  fi;
  d_step { proposal = 0; granted = 0; readers[0] = false; readers[1] = false; readers[2] = false }
}

inline take(n) {
  atomic {
    if
    :: true
    :: holder[n] == NOBODY && !owners[n] && !readers[n] && proposal > all[n] ->
       holder[n] = WRITER;
       all[n] = proposal;
       alone[n] = proposal;
       granted++
    fi
  }
}

inline let_go(n) {
  if
  :: holder[n] == WRITER -> holder[n] = NOBODY
  :: else
  fi
}

proctype Writer() {
  byte proposal, granted;
  propose();
  take(1);
  take(2);
  take(0);
  if
  :: atomic {
       granted >= QUORUM ->
       assert(trust == NOBODY && !reading);
       ASSERT_FENCE(proposal > last_of_all);
       writing = true;
       last_of_all = proposal;
       last_alone = proposal
     }
     writing = false
  :: else
  fi;
  d_step { proposal = 0; granted = 0; let_go(0); let_go(1); let_go(2) }
}

init {
  atomic {
    holder[1] = OWNER; all[1] = FIRST; alone[1] = FIRST;
    holder[2] = OWNER; all[2] = FIRST; alone[2] = FIRST;
    if
    :: holder[0] = OWNER; all[0] = FIRST; alone[0] = FIRST
    :: true /* the acquisition did not reach it */
    fi;
    run Owner();
    run Late();
    run Expiry();
#ifdef AGAIN
    if
    :: run Reader()
    :: run Writer()
    fi
#else
    run Reader();
    run Writer()
#endif
  }
}
