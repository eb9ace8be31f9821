/*-------------------------------------------------------------------------
 *
 * once_internal.h
 *	  What the files of src/once share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_ONCE_INTERNAL_H
#define EB_ONCE_INTERNAL_H

#include "access/htup_details.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"

#include "once/once.h"

/* Leases may be this long even where the consumer's time to live is shorter. */
#define EB_ONCE_LEASE_MAX	USECS_PER_HOUR

/* Time in each window to empty the other table, at least. */
#define EB_ONCE_MIN_GAP		(10 * USECS_PER_MINUTE)

/*
 * Privileges on a consumer's view: SELECT looks at what is remembered, INSERT
 * processes, DELETE forgets a key, TRUNCATE administers (settings, drop).
 */
#define EB_CONSUMER_PROCESS	ACL_INSERT
#define EB_CONSUMER_FORGET	ACL_DELETE
#define EB_CONSUMER_ADMIN	ACL_TRUNCATE

/* Columns of eb.key_windows. */
#define EB_KEY_WINDOWS_KIND			1
#define EB_KEY_WINDOWS_NAME			2
#define EB_KEY_WINDOWS_TTL			3
#define EB_KEY_WINDOWS_PREVIOUS_TTL	4
#define EB_KEY_WINDOWS_HOLD_UNTIL	5
#define EB_KEY_WINDOWS_DUPLICATES	6

/* Columns of eb.processed, after key and expires_at. */
#define EB_PROCESSED_LEASE_UNTIL	3
#define EB_PROCESSED_TOKEN			4
#define EB_PROCESSED_ATTEMPTS		5
#define EB_PROCESSED_NAME			6
#define EB_PROCESSED_PAYLOAD_HASH	7
#define EB_PROCESSED_LAST_ERROR		8
#define EB_PROCESSED_RESULT			9
#define EB_PROCESSED_NATTS			9

/* Columns of eb.published, after key and expires_at. */
#define EB_PUBLISHED_EVENT_ID		3
#define EB_PUBLISHED_MESSAGE_ID		4
#define EB_PUBLISHED_NAME			5
#define EB_PUBLISHED_NATTS			5

/* A row of eb.key_windows; the set's tables may be missing (InvalidOid). */
typedef struct EbOnceRow
{
	EbOnceSet	set;
	bool		changed;		/* previous_ttl is not null */
	int64		previous_ttl;
	bool		holds;
	TimestampTz hold_until;
	int64		duplicates;
} EbOnceRow;

extern bool eb_once_microseconds(const Interval *interval, int64 *result);
extern void eb_once_fill(EbOnceRow *row, HeapTuple tuple, TupleDesc desc);
extern bool eb_once_read_row(EbOnceKind kind, const char *name, EbOnceRow *row);

/* ---- once_process.c ---- */

/* A consumer and key as a function's first two arguments name them. */
typedef struct EbOnceCall
{
	EbOnceSet	set;
	char	   *label;			/* the key as text */
	bool		is_uuid;
	pg_uuid_t	key;
} EbOnceCall;

/* Reads arguments 0 and 1 (the key: uuid or text), checks the privilege. */
extern void eb_once_call(FunctionCallInfo fcinfo, bool key_is_uuid, AclMode mode,
						 EbOnceCall *call);

#endif							/* EB_ONCE_INTERNAL_H */
