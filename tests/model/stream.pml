/* Trust and silence: how long a client trusts a lock, and when the daemon gives it up. One client, one
 * daemon, one Session with disconnect_grace, and a rival that acquires as soon as the key is free.
 *
 * Messages are delivered in order after any delay; a lost message is one that is never delivered. The daemon
 * may extend at any time, or not at all. The stream may break, the client may abandon it, and messages sent
 * before may still be read. Time is in ticks, and a tick may pass at any point. The silence timer fires up
 * to LATE ticks late.
 *
 * The client computes a validity from the pair (send time, daemon's clock) of its answered messages that
 * gives the latest bound. Because the clocks run at one rate here, the model keeps the pair as their
 * difference, `lag`.
 *
 * Not modelled: the drift of the clocks and its margin; other daemons (takers.pml); nodes, which are one key
 * with an expiry here (redlock.pml); a release that is sent again on the next Session.
 *
 * tests/model/run checks this with a TTL longer than the grace and with a shorter one, and that it fails
 * WITHOUT_SILENCE_RULE, WITHOUT_GRACE, WITHOUT_SENDING_TIME, WITHOUT_CLOCK, WITHOUT_CLOSE_MESSAGE or
 * WITHOUT_TRUST_ENDED_FIRST. */

#ifndef GRACE
#define GRACE 2
#define TTL 4
#endif
#define LATE 1
#define END 6   /* the end of time */
#define PINGS 2 /* the number of pings that the client sends */
#define UNKNOWN 255

mtype = { PING, RELEASE, HALF_CLOSE };
chan up = [2] of { mtype, byte };         /* and its send time */
chan down = [2] of { bool, byte, byte, byte }; /* is it an answer?, the message's send time, clock, valid until */

byte now;

byte expires = TTL; /* of the key on the nodes */
bool taken;         /* by the rival */

byte read_at;       /* when the daemon last read a message */
bool watching = true;
byte broke = UNKNOWN;

byte session = GRACE; /* the end of the trust in the Session, in which a message sent at 0 was answered */
byte valid;           /* the end of the lock's validity */
byte lag = UNKNOWN;
bool abandoned, released;
byte pings;

#define LATER(a, b) ((a) > (b) -> (a) : (b))
#define TRUSTED (now < session && now < valid)
#define IN_TIME (now <= read_at + GRACE + LATE)

#ifdef WITHOUT_SILENCE_RULE
#define SILENT (broke != UNKNOWN && now >= broke + GRACE)
#else
#define SILENT (now >= read_at + GRACE)
#endif
#define DUE (SILENT && now >= read_at + GRACE + LATE)

inline free_key() {
  watching = false;
  if
  :: !taken -> expires = now
  :: else
  fi
}

active proctype Time() {
  do
  :: d_step { now < END && (!watching || !DUE) -> now++; assert(!watching || IN_TIME) }
  od
}

active proctype Daemon() {
  byte sent;
  do
  :: atomic {
       up?PING(sent) ->
       if
       :: watching && len(down) == 2 -> read_at = now
       :: watching && len(down) < 2 -> read_at = now; down!true, sent, now, expires
       :: !watching /* the Session has ended: no answer */
       fi;
       sent = 0
     }
  :: atomic {
       up?RELEASE(sent) ->
       if
       :: watching -> free_key()
       :: else
       fi;
       if
       :: len(down) < 2 -> down!true, sent, now, 0
       :: len(down) == 2
       fi;
       sent = 0
     }
  :: atomic {
       up?HALF_CLOSE(_);
#ifdef WITHOUT_CLOSE_MESSAGE
       if
       :: watching -> free_key()
       :: else
       fi
#endif
     }
  :: atomic {
       watching && now < expires && expires < now + TTL && !taken -> expires = now + TTL;
       if
       :: len(down) < 2 -> down!false, 0, now, expires
       :: true /* not reported */
       fi
     }
#if defined(WITHOUT_SILENCE_RULE) || defined(WITHOUT_GRACE)
  :: atomic { watching && broke == UNKNOWN -> broke = now }
#endif
#ifdef WITHOUT_GRACE
  :: atomic { watching && broke != UNKNOWN -> free_key() }
#endif
  :: atomic { watching && SILENT -> free_key() }
  od
}

active proctype Client() {
  bool answer;
  byte sent, clock, until;
  do
  :: atomic { !abandoned && !released && len(up) < 2 && pings < PINGS -> up!PING(now); pings++ }
  :: atomic {
       !abandoned && len(down) > 0; down?answer, sent, clock, until;
       if
       :: answer ->
#ifdef WITHOUT_SENDING_TIME
          session = LATER(session, now + GRACE);
#else
          session = LATER(session, sent + GRACE);
#endif
          if
          :: clock - sent < lag -> lag = clock - sent
          :: else
          fi
       :: else
       fi;
       if
       :: released -> valid = 0
#ifdef WITHOUT_CLOCK
       :: !released && until > clock -> valid = LATER(valid, now + until - clock)
#else
       :: !released && lag != UNKNOWN && until > lag -> valid = LATER(valid, until - lag)
#endif
       :: else
       fi;
       assert(!taken || !TRUSTED);
       answer = false;
       sent = 0;
       clock = 0;
       until = 0
     }
  :: atomic {
       !abandoned && !released && len(up) < 2 ->
       released = true;
#ifndef WITHOUT_TRUST_ENDED_FIRST
       valid = 0;
#endif
       up!RELEASE(now)
     }
  :: atomic {
       !abandoned -> abandoned = true;
       if
       :: len(up) < 2 -> up!HALF_CLOSE(0)
       :: true
       fi
     }
  od
}

active proctype Rival() {
  atomic { now >= expires -> taken = true; assert(!TRUSTED) }
}
