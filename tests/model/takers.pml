/* Moves between daemons: which stream a node records as the keeper of a lease (`taker` in this model), and
 * what the end of a stream deletes. Three nodes, one client that moves from stream to stream, a rival, and
 * one node that loses its data.
 *
 * Stream 1 acquired the lock. The client may abandon the stream that it uses and adopt the lock on the next
 * one, with that stream's number as its sequence, so that one number stands for both the sequence and the
 * stream that a node stores. The daemon performs the adoption at any time, perhaps long after the client has
 * moved to a later stream. Every request to a node is a separate step.
 *
 * The model has no time; order stands for it. A stream ends by silence only after the client's trust through
 * this stream has ended, and an answer that arrives later gives no trust: stream.pml checks both with a
 * clock. Trust through earlier streams has ended by then as well, because their last messages were sent
 * before this stream's first one, and all streams of a client have the same grace. A quarantine ends after
 * all trust from rounds that began before the loss.
 *
 * Also not modelled: keys that expire (redlock.pml), fences, an adoption that is sent again on the same
 * stream, an end that overtakes the requests of its own stream, rivals that roll back, and a release
 * together with a loss: a repair (`heal`) can then restore the key on the lost node until its TTL ends.
 *
 * -DSTREAMS=3: two moves and a release, one extension. -DSTREAMS=2 -DLOSS: one move, an extension by each
 * stream, and the loss. -DONLY_RIVALS: checks only which client is granted the lock, not what the end of a
 * stream deletes.
 *
 * tests/model/run checks this, and that it fails WITHOUT_NAMED_TAKER, WITHOUT_SEQUENCE,
 * WITHOUT_TAKER_IN_THE_EXTENSION, WITHOUT_TAKER_IN_THE_HEAL, WITHOUT_SEAL or WITHOUT_QUARANTINE. */

#define NODES 3
#define QUORUM 2
#ifndef STREAMS
#define STREAMS 3
#endif
#ifndef LOST_NODE
#define LOST_NODE 0
#endif
#ifdef LOSS
#define ROUNDS(i) 1 /* extensions by stream i */
#else
#define ROUNDS(i) (i == 2)
#endif

mtype = { NOBODY, CLIENT, RIVAL };
mtype holder[NODES] = CLIENT;
byte taker[NODES] = 1;
bool sealed[NODES]; /* by the release: this token is not repaired any more */
bool quarantined;   /* LOST_NODE */
byte kept[NODES];   /* the highest stream of which a decided round left the key on the node */
byte keeping[4];    /* by stream: the nodes on which its round under way has found the key */

byte current = 1; /* the client's stream */
bool trust[4];    /* by answers on this stream */
bool fresh[4];    /* by a round that began after the loss */
bool ended[4];
bool released;
bool taken; /* by the rival */
bool lost, readmitted; /* LOST_NODE */
byte done;             /* finished processes */

#define TRUSTED (trust[1] || trust[2] || trust[3])
#define OLD(i) (trust[i] && !fresh[i])
#define SILENT(i) (current >= i && !trust[1] && (i < 2 || !trust[2]) && (i < 3 || !trust[3]))

inline forget(n) {
  holder[n] = NOBODY;
  kept[n] = 0;
  keeping[1] = keeping[1] & ~(1 << n);
  keeping[2] = keeping[2] & ~(1 << n);
  keeping[3] = keeping[3] & ~(1 << n)
}

/* A request sent before the loss does not reach the node, because the connection was reset. */
#define REACHED(n) (n != LOST_NODE || after_loss || !lost)

/* A vote. A quarantined node performs the request but has no vote. */
inline confirm(n) {
  if
  :: !REACHED(n) || (n == LOST_NODE && quarantined)
  :: REACHED(n) && !(n == LOST_NODE && quarantined) ->
     confirmed = confirmed | (1 << n);
     keeping[i] = keeping[i] | (1 << n);
     if
     :: taker[n] > highest -> highest = taker[n]
     :: else
     fi
  fi
}

inline adopt(n) {
  atomic {
    if
    :: true
    :: holder[n] == CLIENT &&
#ifndef WITHOUT_SEQUENCE
       i > taker[n] &&
#endif
       true ->
       taker[n] = i;
       confirm(n)
    fi
  }
}

inline extend(n) {
  atomic {
    if
    :: true
    :: holder[n] == CLIENT ->
#ifndef WITHOUT_TAKER_IN_THE_EXTENSION
       if
       :: taker[n] < i -> taker[n] = i
       :: else
       fi;
#endif
       if
       :: true /* the reply is lost */
       :: confirm(n)
       fi
    :: holder[n] == NOBODY -> missing = missing | (1 << n)
    fi
  }
}

inline heal(n) {
  atomic {
    if
    :: true
    :: (missing & (1 << n)) && holder[n] == NOBODY && REACHED(n) &&
#ifndef WITHOUT_SEAL
       !sealed[n] &&
#endif
       true ->
       holder[n] = CLIENT;
       kept[n] = highest;
#ifdef WITHOUT_TAKER_IN_THE_HEAL
       taker[n] = 1
#else
       taker[n] = highest
#endif
    fi
  }
}

#define HOLDS(bits) (((bits) & 1) + (((bits) >> 1) & 1) + (((bits) >> 2) & 1) >= QUORUM)

/* The round is decided: the answer arrives, or it does not. An answer of a round that began before the loss
 * is too late after the quarantine. */
inline decide() {
  atomic {
    d_step {
      n = 0;
      do
      :: n < NODES ->
         if
         :: (keeping[i] & (1 << n)) && kept[n] < i -> kept[n] = i
         :: else
         fi;
         n++
      :: else -> break
      od
    }
    n = 0;
    keeping[i] = 0;
    if
    :: current == i && !ended[i] && !released && (after_loss || !readmitted) &&
       (trust[i] || adopting) ->
       assert(!taken);
       trust[i] = true;
       fresh[i] = fresh[i] || after_loss
    :: true
    fi;
    adopting = false
  }
}

inline end(n) {
  d_step {
    if
    :: holder[n] == CLIENT &&
#ifndef WITHOUT_NAMED_TAKER
       taker[n] == i &&
#endif
       true ->
#ifndef ONLY_RIVALS
       assert(kept[n] <= i || ended[kept[n]]); /* otherwise a later stream keeps it */
#endif
       forget(n)
    :: else
    fi
  }
}

proctype Stream(byte i; byte first; byte second; byte third) {
  byte confirmed, missing, highest, n, rounds;
  bool after_loss, adopting;
  if
  :: i > 1 ->
     atomic { current >= i; after_loss = lost; adopting = true }
     adopt(first);
     adopt(second);
     adopt(third);
     if
     :: HOLDS(confirmed) -> decide()
     :: else -> goto silence
     fi
  :: else
  fi;
  do
  :: rounds < ROUNDS(i) ->
     atomic { rounds++; confirmed = 0; keeping[i] = 0; missing = 0; highest = 0; after_loss = lost }
     extend(first);
     extend(second);
     extend(third);
     if
     :: HOLDS(confirmed) ->
        decide();
        if
        :: missing & 1 -> heal(0)
        :: else
        fi;
        if
        :: missing & 2 -> heal(1)
        :: else
        fi;
        if
        :: missing & 4 -> heal(2)
        :: else
        fi
     :: else
     fi
  :: break
  od;
silence:
  atomic { SILENT(i) -> ended[i] = true; confirmed = 0; missing = 0; highest = 0; keeping[i] = 0 }
  end(first);
  end(second);
  end(third);
  done++
}

inline delete(n) {
  d_step {
    if
    :: holder[n] == CLIENT -> forget(n)
    :: else
    fi;
    sealed[n] = true
  }
}

/* Moves to the next stream, lets its trust pass, and may release the lock through any daemon. */
proctype Client() {
  do
  :: atomic { !released && current < STREAMS -> current++ }
  :: atomic { trust[1] -> trust[1] = false }
  :: atomic { trust[2] -> trust[2] = false }
  :: atomic { trust[3] -> trust[3] = false }
#ifndef LOSS
  :: d_step {
       !released && TRUSTED -> released = true;
       trust[1] = false;
       trust[2] = false;
       trust[3] = false;
       current = STREAMS /* every adoption was sent */
     }
     delete(0);
     delete(1);
     delete(2)
#endif
  :: !TRUSTED && current == STREAMS && ended[1] && ended[2] && (STREAMS < 3 || ended[3]) -> break
  od;
  done++
}

inline take(n) {
  atomic {
    holder[n] == NOBODY && !(n == LOST_NODE && quarantined) ->
    holder[n] = RIVAL
  }
}

/* Two nodes form a quorum. */
proctype Rival(byte first; byte second) {
  take(first);
  atomic { take(second); taken = true; assert(!TRUSTED) }
}

proctype Loss() {
  d_step {
    if
    :: holder[LOST_NODE] == CLIENT -> forget(LOST_NODE)
    :: else
    fi;
    taker[LOST_NODE] = 0;
    fresh[1] = false;
    fresh[2] = false;
    fresh[3] = false;
    lost = true;
#ifndef WITHOUT_QUARANTINE
    quarantined = true
#endif
  }
#ifndef WITHOUT_QUARANTINE
  d_step {
    !OLD(1) && !OLD(2) && !OLD(3) -> quarantined = false;
    readmitted = true
  }
#endif
}

init {
  atomic {
    trust[1] = true;
#ifndef LOSS
    if
    :: holder[2] = NOBODY; taker[2] = 0 /* the acquisition did not reach it */
    :: true
    fi;
#endif
    run Stream(1, 0, 1, 2);
    run Stream(2, 2, 0, 1);
#if STREAMS == 3
    run Stream(3, 1, 2, 0);
#endif
    run Client();
    if
    :: run Rival(0, 1)
    :: run Rival(1, 2)
    :: run Rival(2, 0)
    fi;
#ifdef LOSS
    run Loss();
#endif
    skip
  }
  done == STREAMS + 1 -> /* everything has been delivered */
  assert(!released || (holder[0] != CLIENT && holder[1] != CLIENT && holder[2] != CLIENT))
}
