/* The record of the next node set: at most one is decided for each epoch, although a node loses all its data
 * and is readmitted.
 *
 * Coordinators with different goals run at the same time. A request is lost, or one atomic step on its node;
 * the answer arrives or is lost. Requests arrive in any order and as late as possible: a node answers at any
 * time at which its state allows it. A coordinator that crashes is one that takes no further step.
 *
 * Ballots of the coordinators are multiples of GAP; readmissions use the numbers between them.
 *
 * Default: three members, all at epoch 0, decide epoch 1.
 * -DSECOND: epoch 1 has just been decided by {0,1,2} of the members {0,1,2,3}, it removes node 3, and the
 * nodes learn it at any time. {0,1,2} decide epoch 2. A daemon that knows epoch 0 only may readmit a node.
 * -DLOSSES=n, -DCOORDINATORS=n.
 *
 * tests/model/run checks this, and that it fails WITHOUT_PROMISE, WITHOUT_HIGHEST_ACCEPTED,
 * WITHOUT_BALLOT_IN_THE_READMISSION, WITHOUT_LOSS_CHECK_IN_THE_ACCEPT, WITHOUT_ACCEPT_BY_PROMISERS_ONLY,
 * WITHOUT_LOSS_CHECK_IN_THE_READMISSION or WITHOUT_LOSS_CHECK_IN_THE_LEARN. */

#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef COORDINATORS
#define COORDINATORS 2
#endif
#define GAP (LOSSES + 1)
#ifdef SECOND
#define NODES 4
#define MEMBERS(epoch) (epoch == 0 -> 15 : 7)
#define QUORUM(epoch) (epoch == 0 -> 3 : 2)
#define EPOCH 1 /* the coordinators' */
#else
#define NODES 3
#define MEMBERS(epoch) 7
#define QUORUM(epoch) 2
#define EPOCH 0
#endif
#define COUNT(bits) (((bits) & 1) + (((bits) >> 1) & 1) + (((bits) >> 2) & 1) + (((bits) >> 3) & 1))
#define MEMBER(n, epoch) ((MEMBERS(epoch) >> n) & 1)

/* On the nodes. */
bool blank[NODES];            /* lost everything and not readmitted */
byte base[NODES];             /* the epoch of the record */
byte promised[NODES];         /* for the instance base -> base + 1 */
byte accepted_ballot[NODES];  /* 0: none */
byte accepted_value[NODES];

/* By coordinator: the nodes that promised and have not lost data since. In the implementation, the request
 * carries the identity of the node's data that the promise carried, and the node compares it. */
byte same_data[COORDINATORS];
/* By readmission: the same for the empty node. */
bool same_loss[LOSSES];
byte readmits[LOSSES];

byte votes[COORDINATORS]; /* the nodes that ever accepted this coordinator's ballot */
byte decided;             /* the value, 0: none */
byte losses, used;        /* ballots in use by readmissions, as bits */
byte readmissions;

/* `read` the state of node n under ballot b, and promise. */
inline read_accepted(n) {
  if
  :: accepted_ballot[n] > highest -> highest = accepted_ballot[n]; value = accepted_value[n]
  :: else
  fi
}

inline prepare(n) {
  atomic {
    !blank[n] && base[n] == EPOCH && MEMBER(n, EPOCH) && ballot > promised[n] ->
    promised[n] = ballot;
    if
    :: promises = promises | (1 << n);
       same_data[c] = same_data[c] | (1 << n);
       read_accepted(n)
    :: true /* the answer is lost */
    fi
  }
}

inline accept(n) {
  atomic {
    !blank[n] && base[n] == EPOCH && MEMBER(n, EPOCH) && accepted_ballot[n] != ballot &&
#ifndef WITHOUT_PROMISE
    ballot >= promised[n] &&
#endif
#ifndef WITHOUT_ACCEPT_BY_PROMISERS_ONLY
    (promises & (1 << n)) &&
#endif
#ifndef WITHOUT_LOSS_CHECK_IN_THE_ACCEPT
    (!(promises & (1 << n)) || (same_data[c] & (1 << n))) &&
#endif
    true ->
    promised[n] = ballot;
    accepted_ballot[n] = ballot;
    accepted_value[n] = value;
    votes[c] = votes[c] | (1 << n);
    if
    :: COUNT(votes[c]) >= QUORUM(EPOCH) ->
       assert(decided == 0 || decided == value);
       decided = value
    :: else
    fi
  }
}

proctype Coordinator(byte c) {
  byte ballot, promises, highest, value;
  ballot = (c + 1) * GAP;
  do
  :: prepare(0)
  :: prepare(1)
  :: prepare(2)
  :: atomic { COUNT(promises) >= QUORUM(EPOCH) -> break }
  od;
  atomic {
    if
#ifndef WITHOUT_HIGHEST_ACCEPTED
    :: highest > 0
#endif
    :: highest == 0 -> value = c + 1
#ifdef WITHOUT_HIGHEST_ACCEPTED
    :: highest > 0 -> value = c + 1
#endif
    fi;
    highest = 0
  }
  do
  :: accept(0)
  :: accept(1)
  :: accept(2)
  od
}

inline lose(n) {
  d_step {
    losses < LOSSES && !blank[n] && MEMBER(n, EPOCH) ->
    losses++;
    blank[n] = true;
    base[n] = 0;
    promised[n] = 0;
    accepted_ballot[n] = 0;
    accepted_value[n] = 0;
    c = 0;
    do
    :: c < COORDINATORS -> same_data[c] = same_data[c] & ~(1 << n); c++
    :: else -> break
    od;
#ifndef WITHOUT_LOSS_CHECK_IN_THE_READMISSION
    c = 0;
    do
    :: c < LOSSES ->
       if
       :: readmits[c] == n -> same_loss[c] = false
       :: else
       fi;
       c++
    :: else -> break
    od;
#endif
    c = 0
  }
}

proctype Loss() {
  byte c;
  do
  :: lose(0)
  :: lose(1)
  :: lose(2)
  od
}

inline prepare_readmission(n) {
  atomic {
    node != n && !blank[n] && base[n] == epoch && MEMBER(n, epoch) && !(promises & (1 << n)) &&
#ifndef WITHOUT_BALLOT_IN_THE_READMISSION
    ballot > promised[n] ->
    promised[n] = ballot;
#else
    true ->
    if
    :: promised[n] > ballot -> ballot = promised[n]
    :: else
    fi;
#endif
    if
    :: promises = promises | (1 << n);
       read_accepted(n)
    :: true
    fi
  }
}

/* Any daemon that finds an empty node. */
proctype Readmission(byte r) {
  byte node, epoch, ballot, promises, highest, value;
  atomic {
    if
    :: blank[0] -> node = 0
    :: blank[1] -> node = 1
    :: blank[2] -> node = 2
    fi;
    readmits[r] = node;
    same_loss[r] = true;
#ifdef SECOND
    if
    :: epoch = 0
    :: epoch = 1
    fi;
#endif
#ifndef WITHOUT_BALLOT_IN_THE_READMISSION
    ballot = 1;
    do
    :: ballot < (COORDINATORS + 1) * GAP - 1 -> ballot++
    :: ballot % GAP != 0 && !(used & (1 << (ballot - 1))) -> break
    od;
    used = used | (1 << (ballot - 1))
#endif
  }
  do
  :: prepare_readmission(0)
  :: prepare_readmission(1)
  :: prepare_readmission(2)
#ifdef SECOND
  :: prepare_readmission(3)
#endif
  :: atomic { COUNT(promises) >= QUORUM(epoch) -> break }
  od;
  atomic {
    blank[node] && same_loss[r] ->
    blank[node] = false;
    base[node] = epoch;
    promised[node] = ballot;
    accepted_ballot[node] = highest;
    accepted_value[node] = value
  }
}

inline learn(n) {
  d_step {
#ifdef WITHOUT_LOSS_CHECK_IN_THE_LEARN
    (blank[n] || base[n] < EPOCH) ->
#else
    !blank[n] && base[n] < EPOCH ->
#endif
    blank[n] = false;
    base[n] = EPOCH;
    promised[n] = 0;
    accepted_ballot[n] = 0;
    accepted_value[n] = 0
  }
}

/* The record of EPOCH, which was decided before. */
proctype Learn() {
  do
  :: learn(0)
  :: learn(1)
  :: learn(2)
  od
}

init {
  byte i;
  atomic {
#ifdef SECOND
    /* The ballot of a decided value is below those of later readmissions. */
    accepted_ballot[0] = 1;
    accepted_ballot[1] = 1;
    accepted_ballot[2] = 1;
    accepted_value[0] = 9;
    accepted_value[1] = 9;
    accepted_value[2] = 9;
#endif
    do
    :: i < COORDINATORS -> run Coordinator(i); i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < LOSSES -> run Readmission(i); i++
    :: else -> break
    od;
    i = 0;
    run Loss();
#if defined(SECOND) || defined(WITHOUT_LOSS_CHECK_IN_THE_LEARN)
    run Learn();
#endif
    skip
  }
}
