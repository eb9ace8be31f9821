/*-------------------------------------------------------------------------
 *
 * once.h
 *	  Sets of keys that are remembered for a time: deduplication of what is
 *	  published and sent, and of what consumers process.
 *
 * README.md beside this file argues why a key is first for one caller only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_ONCE_H
#define EB_ONCE_H

#include "executor/tuptable.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Whose keys: a set belongs to a consumer, a bus or a FIFO queue. */
typedef enum EbOnceKind
{
	EB_ONCE_CONSUMER,
	EB_ONCE_BUS,
	EB_ONCE_QUEUE,
	EB_ONCE_KINDS
} EbOnceKind;

/* A set's configuration row and what belongs to it. */
typedef struct EbOnceSet
{
	EbOnceKind	kind;
	char		name[NAMEDATALEN];	/* of the consumer, bus or queue */
	Oid			tables[2];
	Oid			view;			/* consumers: eb.consumer_<name>, carries the privileges */
	int64		ttl;			/* microseconds, as all below */
	int64		reach;			/* the longest that an entry made now can live */
	int64		window;			/* how long one table is written before the other */
} EbOnceSet;

/* ---- once_config.c ---- */

/* "consumer", "bus", "queue": for messages and for eb.key_windows.kind. */
extern const char *eb_once_kind_name(EbOnceKind kind);

/*
 * Look a set up under the newest committed configuration; cached, valid until
 * the next call.  Missing: NULL or an error.
 */
extern const EbOnceSet *eb_once_lookup(EbOnceKind kind, const char *name,
									   bool missing_ok);

/*
 * Make, change and drop the set of a bus or queue, together with it.  The
 * caller has checked the name, the privilege and the range of the time, and
 * holds what lock keeps two of them apart.  drop does nothing if there is none.
 */
extern void eb_once_create(EbOnceKind kind, const char *name, Interval *ttl);
extern void eb_once_update(EbOnceKind kind, const char *name, Interval *ttl);
extern void eb_once_drop(EbOnceKind kind, const char *name);

/* Microseconds of a time to live; 22023 unless 1 second to 1 year. */
extern int64 eb_once_check_ttl(EbOnceKind kind, const char *name,
							   const char *setting, Interval *ttl);

/* ---- once_window.c ---- */

/* Columns that rows of all sets begin with; 16 bytes of key, whatever it is made from. */
#define EB_ONCE_KEY			1
#define EB_ONCE_EXPIRES_AT	2

#define EB_ONCE_MAX_COLUMNS	9

/*
 * The key of a text: the uuid that it spells, or half of its SHA-256.  So an
 * event id is the same key whether it is passed as uuid or as text.
 */
extern void eb_once_key(const char *text, Size length, pg_uuid_t *key);

/*
 * One call's work on a set:
 *
 *	 keys = eb_once_open(set, "eb.f()");
 *	 if (!eb_once_claim(keys, key, label, values, nulls))
 *		 ... eb_once_found(keys), eb_once_replace(keys, ...), eb_once_remove(keys)
 *	 eb_once_close(keys);
 *
 * The two tables stay locked (RowExclusive) to the end of the transaction.
 * open refuses where nothing can be written (read only, standby, parallel), in
 * the name of the command.
 */
typedef struct EbOnceKeys EbOnceKeys;

extern EbOnceKeys *eb_once_open(const EbOnceSet *set, const char *command);
extern const EbOnceSet *eb_once_set(EbOnceKeys *keys);
extern TimestampTz eb_once_now(EbOnceKeys *keys);

/*
 * Claim a key.  True: it was not known, and a row is written of values (key
 * and expires_at are filled in here; it lives for the set's time to live).  False: it is known, committed or by
 * this very transaction; its row is eb_once_found().  Waits for a transaction
 * that claims, changes or removes the same key to end, holding nothing but
 * what the caller's transaction holds.
 *
 * label is the key as the user wrote it, for messages.  Raises 40001 if the
 * answer depends on a row that a REPEATABLE READ transaction cannot see.
 */
extern bool eb_once_claim(EbOnceKeys *keys, const pg_uuid_t *key, const char *label,
						  Datum *values, bool *isnull);

/*
 * The two halves of a claim, for callers whose row depends on the clock: find
 * answers true if the key is known; insert, right after a find that did not,
 * answers false if somebody came in between: find again.  lifetime: in
 * microseconds, at most the set's reach.
 */
extern bool eb_once_find(EbOnceKeys *keys, const pg_uuid_t *key, const char *label);
extern bool eb_once_insert(EbOnceKeys *keys, const pg_uuid_t *key, int64 lifetime,
						   Datum *values, bool *isnull);

/* The row that the last claim or find came upon, deformed; stays until the next one. */
extern TupleTableSlot *eb_once_found(EbOnceKeys *keys);

/* Replace or remove the found row.  False: somebody changed it since, find again. */
extern bool eb_once_replace(EbOnceKeys *keys, int64 lifetime, Datum *values,
							bool *isnull);
extern bool eb_once_remove(EbOnceKeys *keys);

/* Makes what was written visible to the next command. */
extern void eb_once_close(EbOnceKeys *keys);

/* ---- once_dedup.c: for what is published and sent ---- */

/* A dedup id has up to so many characters. */
#define EB_DEDUP_ID_MAX 128

/* One event or message of a batch. */
typedef struct EbDedup
{
	const char *dedup_id;		/* NULL: key is set instead, or none is wanted */
	bool		has_key;		/* key holds a hash of the content */
	pg_uuid_t	key;
	pg_uuid_t	event_id;		/* bus; a duplicate gets its first one's */
	int64		message_id;		/* queue; likewise */
	bool		duplicate;		/* result */
} EbDedup;

/* Key of what an event or message says: several parts, each may be NULL. */
extern void eb_dedup_content(EbDedup *dedup, const char *source,
							 const char *detail_type, Jsonb *body);

/*
 * Claim the ids of a batch, with the keys of its bus or queue.  In the order
 * of their keys, so that two batches with the same ids never wait for each
 * other in a circle; of equal ids in one batch the first is no duplicate.
 */
extern void eb_dedup_claim(EbOnceKeys *keys, EbDedup *batch, int n);

/* ---- once_rotate.c ---- */

/* Duplicates seen, for the status views; kept in shared memory in between. */
extern void eb_once_count(const EbOnceSet *set, int64 duplicates);

/*
 * Empty the tables in which everything has expired, without waiting for
 * anybody for more than a moment; returns how many were emptied.  Locks are
 * held to the end of the transaction.  eb_once_list names the sets, so that a
 * worker can give each a transaction of its own (eb_once_maintain_set, which
 * says when there is something to do next: DT_NOEND if nothing is kept).
 */
extern int	eb_once_maintain(void);
extern int	eb_once_maintain_set(EbOnceKind kind, const char *name,
								 TimestampTz *next);
extern int	eb_once_list(EbOnceSet **sets);

#endif							/* EB_ONCE_H */
