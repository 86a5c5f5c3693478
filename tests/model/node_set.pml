/* Leases while the node set changes in two steps: never two valid leases.
 *
 * Sets: {0,1,2}, then {0,1,2,3}, then {0,1,3}. -DREMOVE_FIRST: {0,1} in the middle. -DABORT: back to {0,1,2}
 * without a wait. -DLOSS=n: node n loses all its data once, and is readmitted.
 *
 * Two clients compete. Each attempt, extension and repair uses any record that is decided by then, so that a
 * daemon may be stale. Requests to nodes and answers can be lost, and a lease can be given up at any time.
 *
 * How a record is decided is left to node_set_paxos.pml: here, members accept the next record in any order,
 * and it is decided when a quorum has accepted it. Any node learns a decided record at any time.
 *
 * The model has no time; order stands for it:
 *  - A wait or a quarantine ends when the validity of every round that began before it has ended.
 *  - While a lease is valid, a key expires if neither the latest decided round nor the round under way set it.
 *  - A round takes less time than a wait, a quarantine or a TTL: if it began before, and is still under way at
 *    the end, it does not win.
 *
 * Each client acquires once, so an error needs both leases. The model leaves out everything that follows the
 * end of one of them, or of its attempt: steps that need this are not taken.
 *
 * -DREAD: one client, and a reader: a quorum of "vacant" means that no lease was valid during all of the read.
 * This holds only if no key of the lease expires, and no quarantine ends, during the read. Otherwise, an
 * extension can move the lease from a node that is read later to a node that was read before.
 *
 * tests/model/run checks this, and that it fails WITHOUT_WAIT, WITHOUT_WAIT_ON_THE_NODE,
 * WITHOUT_WAIT_AFTER_LEARNING, WITHOUT_WAIT_AFTER_READMISSION, WITHOUT_EPOCH_IN_THE_GRANT,
 * WITHOUT_EPOCH_IN_THE_EXTENSION, WITHOUT_EPOCH_IN_THE_PUT, WITHOUT_QUARANTINE, WITHOUT_QUARANTINE_IN_THE_PUT,
 * WITHOUT_EPOCH_IN_THE_READ or WITHOUT_QUARANTINE_IN_THE_READ. */

#ifdef REMOVE_FIRST
#define SET1 3
#else
#define SET1 15
#endif
#ifdef ABORT
#define SET2 7
#else
#define SET2 11
#endif
#ifndef MORE
#define MORE 1
#endif
#define EXTENSIONS(c) (c == 0 -> MORE : 0)
#ifndef CONFIRMED
#define CONFIRMED(e) 0 /* nodes that must confirm before keys are put on others */
#endif
#define MEMBERS(e) (e == 0 -> 7 : (e == 1 -> SET1 : SET2))
#define COUNT(bits) (((bits) & 1) + (((bits) >> 1) & 1) + (((bits) >> 2) & 1) + (((bits) >> 3) & 1))
#define WON(e, bits) (2 * COUNT((bits) & MEMBERS(e)) > COUNT(MEMBERS(e)))
#define MEMBER(n, e) ((MEMBERS(e) >> n) & 1)
#define LOST_BIT 16
/* Nodes 0 and 1 are alike unless one of them is lost. */
#if defined(LOSS) && LOSS < 2
#define DIFFERENT 1
#else
#define DIFFERENT 0
#endif

/* On the nodes. */
byte stamp[4]; /* the epoch of the record that the node has accepted or learned */
byte key[4];   /* client + 1 */
bool blank, quarantined; /* the node LOSS */

byte accepted; /* by which nodes, the record decided + 1 */
byte decided;

/* By client. */
bool round[2];    /* an acquisition or extension is under way */
bool valid[2];
byte votes[2];    /* of the round */
bool missing[2];  /* the node LOSS answered "not held" */
byte kept[2];     /* nodes whose key lasts as long as the validity */
byte round_before[2]; /* the round began before the wait on these nodes, or (LOST_BIT) before the loss */
byte lease_before[2]; /* the same for the round that gave the lease its validity */
bool reading; /* -DREAD */
bool older[4];    /* the rival's round began before the key of this node was set */

#ifdef LOSS
#define IS_BLANK(n) (n == LOSS && blank)
#define QUARANTINED(n) (n == LOSS && quarantined)
#else
#define IS_BLANK(n) (0)
#define QUARANTINED(n) (0)
#endif

inline begin_wait(bit_) {
  if
  :: round[0] -> round_before[0] = round_before[0] | bit_
  :: else
  fi;
  if
  :: round[1] -> round_before[1] = round_before[1] | bit_
  :: else
  fi;
  if
  :: valid[0] -> lease_before[0] = lease_before[0] | bit_
  :: else
  fi;
  if
  :: valid[1] -> lease_before[1] = lease_before[1] | bit_
  :: else
  fi
}

#define IS_OVER(bit_) (!((lease_before[0] | lease_before[1] | round_before[0] | round_before[1]) & (bit_)))

/* No further step. */
inline forget_wait(n) {
  round_before[0] = round_before[0] & ~(1 << n);
  round_before[1] = round_before[1] & ~(1 << n);
  lease_before[0] = lease_before[0] & ~(1 << n);
  lease_before[1] = lease_before[1] & ~(1 << n)
}

inline accept1(n) {
  d_step {
    decided == 0 && stamp[n] == 0 && !IS_BLANK(n) && MEMBER(n, 0) ->
    stamp[n] = 1;
    begin_wait((1 << n));
    accepted = accepted | (1 << n);
    if
    :: WON(0, accepted) -> decided = 1; accepted = 0
    :: else
    fi
  }
}

inline accept2(n) {
  d_step {
    decided == 1 && stamp[n] == 1 && !IS_BLANK(n) &&
#if !defined(WITHOUT_WAIT) && !defined(WITHOUT_WAIT_ON_THE_NODE) && !defined(ABORT)
    IS_OVER(1 << n) &&
#endif
#ifdef WITHOUT_WAIT_ON_THE_NODE
    (crashed || IS_OVER(MEMBERS(0))) &&
#endif
    MEMBER(n, 1) ->
    stamp[n] = 2;
    forget_wait(n);
    accepted = accepted | (1 << n);
    if
    :: WON(1, accepted) -> decided = 2; accepted = 0
    :: else
    fi
  }
}

/* Also the record that is written to an added node before it is decided: this only lengthens its wait. */
inline learn(n) {
  d_step {
    stamp[n] < decided && !IS_BLANK(n) ->
    stamp[n] = decided;
    if
    :: decided == 2 -> forget_wait(n)
#ifndef WITHOUT_WAIT_AFTER_LEARNING
    :: decided == 1 && MEMBER(n, 1) -> begin_wait((1 << n))
#endif
    :: else
    fi
  }
}

/* All coordinators together. */
proctype Change() {
#ifdef WITHOUT_WAIT_ON_THE_NODE
  bool crashed; /* the coordinator that knew when the wait began */
#endif
  do
  :: accept1(0)
  :: accept1(1)
  :: accept1(2)
  :: accept2(0)
  :: accept2(1)
#ifndef REMOVE_FIRST
  :: accept2(2)
  :: accept2(3)
#endif
  :: learn(0)
  :: learn(1)
  :: learn(2)
  :: learn(3)
#ifdef WITHOUT_WAIT_ON_THE_NODE
  :: atomic { !crashed -> crashed = true }
#endif
  od
}

/* The client c's key is set, or is set again. */
inline set_key(n) {
  key[n] = c + 1;
  votes[c] = votes[c] | (1 << n);
  older[n] = round[1 - c]
}

#define ASKED(n) (asked & ~votes[c] & (1 << n))

inline grant(n) {
  d_step {
    ASKED(n) && key[n] == 0 && !QUARANTINED(n) &&
#ifndef WITHOUT_EPOCH_IN_THE_GRANT
    stamp[n] == epoch &&
#endif
    !IS_BLANK(n) ->
    set_key(n)
  }
}

/* A quarantined node counts if it holds the token: a repair put it there. */
inline extend(n) {
  d_step {
    ASKED(n) && key[n] == c + 1 &&
#ifndef WITHOUT_EPOCH_IN_THE_EXTENSION
    stamp[n] == epoch &&
#endif
    !IS_BLANK(n) ->
    set_key(n)
  }
}

/* The key is put on a node that answered "not held", and the node counts at once. */
inline put(n) {
  d_step {
    ASKED(n) && key[n] == 0 && COUNT(votes[c]) >= CONFIRMED(epoch) &&
#ifndef WITHOUT_QUARANTINE_IN_THE_PUT
    !QUARANTINED(n) &&
#endif
#ifndef WITHOUT_EPOCH_IN_THE_PUT
    stamp[n] == epoch &&
#endif
    !IS_BLANK(n) ->
    set_key(n)
  }
}

#ifdef LOSS
/* An answer before the decision, and the repair that follows the decision. */
inline find_missing() {
  d_step {
    round[c] && key[LOSS] == 0 && !blank && stamp[LOSS] == epoch && !missing[c] -> missing[c] = true
  }
}

inline repair() {
  d_step {
    !round[c] && missing[c] && key[LOSS] == 0 && !blank && stamp[LOSS] == epoch ->
    set_key(LOSS);
    votes[c] = 0;
    missing[c] = false;
    kept[c] = kept[c] | (1 << LOSS)
  }
}
#endif

inline begin_round() {
  round[c] = true;
  d_step {
    i = 0;
    do
    :: i < 4 ->
       if
       :: key[i] == 2 - c -> older[i] = false
       :: else
       fi;
       i++
    :: else -> break
    od;
    i = 0
  }
}

inline win() {
  assert(!valid[1 - c]);
  valid[c] = true;
  kept[c] = votes[c];
  lease_before[c] = round_before[c]
}

inline end_round() {
  round[c] = false;
  votes[c] = 0;
  asked = 0;
  round_before[c] = 0
}

/* The nodes of which the client gets votes in this round, if it wins. */
inline choose_nodes() {
  if
  :: true
  :: epoch < 1 && decided >= 1 -> epoch = 1
  :: epoch < 2 && decided == 2 -> epoch = 2
  fi;
  do
  :: i < 4 ->
     if
     :: MEMBER(i, epoch) -> asked = asked | (1 << i)
     :: true
     fi;
     i++
  :: else -> break
  od;
  i = 0;
  (DIFFERENT || c == 1 || valid[0] || (asked & 3) != 2) && WON(epoch, asked) && (c == 0 || COUNT(asked) == COUNT(MEMBERS(epoch)) / 2 + 1)
}

proctype Client(byte c) {
  byte epoch, i, asked, extensions;
  atomic {
    choose_nodes();
    begin_round()
  }
  do
  :: grant(0)
  :: grant(1)
  :: grant(2)
  :: grant(3)
  :: atomic { votes[c] == asked -> win(); end_round(); break }
  od;
  do
  :: atomic { !round[c] && extensions < EXTENSIONS(c) -> extensions++; choose_nodes(); begin_round() }
  :: extend(0)
  :: extend(1)
  :: extend(2)
  :: extend(3)
  :: put(0)
  :: put(1)
  :: put(2)
  :: put(3)
#ifdef LOSS
  :: find_missing()
  :: repair()
#endif
  :: atomic { round[c] && votes[c] == asked -> win(); end_round() }
  :: atomic { round[c] && extensions < EXTENSIONS(c) -> end_round() }
  od
}

inline expire(n) {
  d_step {
    key[n] != 0 && valid[key[n] - 1] && !((kept[key[n] - 1] | votes[key[n] - 1]) & (1 << n)) && !older[n] ->
    key[n] = 0
  }
}

proctype Expiry() {
  do
  :: expire(0)
  :: expire(1)
  :: expire(2)
  :: expire(3)
  od
}

#ifdef LOSS
#define OTHERS (15 & ~(1 << LOSS))
#define AT(n, e) (stamp[n] == e || stamp[n] == e + 1 -> 1 << n : 0)
#define READABLE(e) (OTHERS & (AT(0, e) | AT(1, e) | AT(2, e) | AT(3, e)))

/* Reads node n among those that answer. */
inline read_stamp(n) {
  if
  :: !(OTHERS & (1 << n)) || !MEMBER(n, base) || stamp[n] < base || stamp[n] > base + 1
  :: (OTHERS & (1 << n)) && MEMBER(n, base) && stamp[n] >= base && stamp[n] <= base + 1 ->
     if
     :: true /* the answer is lost */
     :: answered = answered | (1 << n);
        if
        :: stamp[n] > found -> found = stamp[n]
        :: else
        fi
     fi
  fi
}

proctype Loss() {
  byte base, answered, found;
  d_step {
    if
    :: key[LOSS] != 0 -> key[LOSS] = 0; older[LOSS] = false
    :: else
    fi;
    kept[0] = kept[0] & OTHERS;
    kept[1] = kept[1] & OTHERS;
    missing[0] = false; /* a request that was sent before dies with its connection */
    missing[1] = false;
    stamp[LOSS] = 0;
    begin_wait(LOST_BIT);
    blank = true;
#ifndef WITHOUT_QUARANTINE
    quarantined = true
#endif
  }
  /* A daemon that knows `base` reads a quorum of the other members, and writes what it found. */
  atomic {
    if
    :: base = 0
    :: decided >= 1 -> base = 1
    :: decided >= 2 -> base = 2
    fi;
    found = base;
    read_stamp(0);
    read_stamp(1);
    read_stamp(2);
    read_stamp(3);
    WON(base, answered)
  }
  d_step {
    stamp[LOSS] = found;
    blank = false;
#ifndef WITHOUT_WAIT_AFTER_READMISSION
    begin_wait((1 << LOSS))
#endif
  }
#ifndef WITHOUT_QUARANTINE
  d_step { IS_OVER(LOST_BIT) && !reading -> quarantined = false }
#endif
}
#endif

#ifdef READ
inline read(n) {
  d_step {
    MEMBER(n, epoch) && key[n] == 0 && !(vacant & (1 << n)) &&
#ifndef WITHOUT_QUARANTINE_IN_THE_READ
    !QUARANTINED(n) &&
#endif
#ifndef WITHOUT_EPOCH_IN_THE_READ
    stamp[n] == epoch &&
#endif
    !IS_BLANK(n) ->
    vacant = vacant | (1 << n)
  }
}

proctype Reader() {
  byte epoch, vacant;
  atomic {
    valid[0]; /* the lease is valid until the read ends */
    reading = true;
    if
    :: epoch = 0
    :: decided >= 1 -> epoch = 1
    :: decided >= 2 -> epoch = 2
    fi
  }
  do
  :: read(0)
  :: read(1)
  :: read(2)
  :: read(3)
  :: atomic { WON(epoch, vacant) -> assert(false) }
  od
}
#endif

init {
  atomic {
    run Client(0);
#ifdef READ
    run Reader();
#else
    run Client(1);
    run Expiry();
#endif
    run Change();
#ifdef LOSS
    run Loss();
#endif
    skip
  }
}
