/*-------------------------------------------------------------------------
 *
 * log.h
 *	  The event log: eb.events and its partitions; writing, reading, storage.
 *
 * eb.events is partitioned by retention class (LIST) and then by ingestion
 * time (RANGE).  It is no member of the extension: eb_log_storage_create()
 * makes it with the first bus, so that pg_dump carries it.  A leaf is found
 * from the class and the time in the event's id.
 *
 * Locks: writing takes RowExclusiveLock on eb.events first and on the leaf
 * then, and no lock on the class partition between them; reading by pointer
 * takes AccessShareLock on the leaf.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_LOG_H
#define EB_LOG_H

#include "clock.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/*
 * One event, as written and as read.  Strings are C strings in the server's
 * encoding; NULL where optional and absent.
 */
typedef struct EbEvent
{
	pg_uuid_t	id;				/* its tick is the time of ingestion */
	int16		class;			/* retention class */
	int16		hops;
	int32		bus_id;
	int64		ruleset_version;
	TimestampTz time;			/* the producer's */
	const char *source;
	const char *detail_type;
	Jsonb	   *detail;
	Datum		resources;		/* text[]; (Datum) 0: empty */
	Jsonb	   *headers;		/* optional */
	const char *group_key;		/* optional: order group for FIFO targets */
	const char *correlation_id; /* optional */
	const char *causation_id;	/* optional */
	const char *traceparent;	/* optional */
	const char *replay;			/* optional */

	/* of a put alone, neither written nor read */
	const char *dedup_id;		/* optional */
	bool		distinct;		/* never a duplicate by its content */
	bool		claimed;		/* its dedup id was claimed already */
	bool		duplicate;		/* id is that of the first event with the dedup id */
} EbEvent;

/* Where an event lies; deliveries keep it. */
typedef struct EbEventPointer
{
	pg_uuid_t	id;
	int16		class;
	ItemPointerData tid;
} EbEventPointer;

/* ---- log_write.c: append ---- */

typedef struct EbLogWriter EbLogWriter;

/*
 * Begin appending: locks eb.events, then accepts invalidations, so a rule set
 * looked up after this is the newest committed one (barrier of
 * docs/architecture.md).  To be called before ids are taken.
 */
extern EbLogWriter *eb_log_begin(void);

/*
 * Buffer one event.  The event and what it points to must stay until the next
 * flush.  pointer, if not NULL, is filled by the flush and must stay as well.
 */
extern void eb_log_append(EbLogWriter *writer, const EbEvent *event,
						  EbEventPointer *pointer);
extern void eb_log_flush(EbLogWriter *writer);	/* fills the pointers */
extern void eb_log_end(EbLogWriter *writer);	/* flushes, too */

/* ---- log_horizon.c: what readers by position may see ---- */

/*
 * Announce an open publisher, before the first id of the transaction is
 * taken; eb_log_begin() does it.  eb_log_mark_ids() goes before ids up to
 * last are written; eb_log_flush() does it.
 */
extern void eb_log_announce(void);
extern void eb_log_mark_ids(EbTick last);

/*
 * For ids of messages: before the first is taken, go on above what was taken
 * before a crash; eb_log_mark_ids() follows.
 */
extern void eb_log_adopt_mark(void);

/*
 * Events below this tick belong to transactions that have ended.  Take
 * GetLatestSnapshot() after it, and read with that.
 */
extern EbTick eb_log_horizon(void);

/*
 * For figures: never waits.  Without shared memory it is the clock, and what
 * open publishers will commit below it is not counted yet.
 */
extern EbTick eb_log_horizon_estimate(void);

/* eb_log_horizon(); held: an open publisher is what bounds it. */
extern EbTick eb_log_horizon_held(bool *held);

/*
 * Bound of this transaction as a publisher, 0 if it is none; and after its
 * commit or abort the bound that it had: it held back a horizon that is equal.
 */
extern EbTick eb_log_bound(void);
extern EbTick eb_log_ended_bound(void);

/* Bound of the publisher that has been open longest, and its backend; 0: none. */
extern EbTick eb_log_oldest_publisher(int *pid);

/*
 * Rows that were written further than EB_LOG_TAIL from the end of their leaf,
 * counted since the start; eb_log_flush() reports them.
 */
extern uint32 eb_log_late_rows(void);
extern void eb_log_report_late_row(void);

/*
 * How often readers learned ranges of any leaf.  A reader counts after he has
 * looked where the leaf ends and before he looks into the ranges.
 */
extern uint32 eb_log_learned(void);
extern void eb_log_count_learned(void);

/* ---- log_read.c: fetch by pointer ---- */

typedef struct EbLogReader EbLogReader;

extern EbLogReader *eb_log_reader_open(void);

/*
 * Fetch the events of a batch in the current memory context.  found[i] tells
 * whether the event still exists (it may have been erased by hand).  Looks at
 * the pointer's TID first, and for all that were not there, once per leaf and
 * call, by id.
 */
extern void eb_log_fetch(EbLogReader *reader, int n, const EbEventPointer *pointers,
						 EbEvent *events, bool *found);

/*
 * The event at a pointer's TID, its detail and headers not copied where they lie
 * in the page: good until the next look or fetch of this reader.  False if it
 * is not there; eb_log_fetch() may find it yet.
 */
extern bool eb_log_peek(EbLogReader *reader, const EbEventPointer *pointer,
						EbEvent *event);
extern void eb_log_reader_close(EbLogReader *reader);

/* ---- log_scan.c: read in id order ---- */

#define EB_LOG_RANGE	64		/* blocks that are read and summarized together */
#define EB_LOG_TAIL		64		/* blocks before the end where writers write */

/*
 * A row of a scan: values by column (log_columns.h), as they lie in the page
 * (long ones still compressed or out of line), valid until the next call.
 */
typedef struct EbLogRow
{
	EbTick		tick;			/* of its id */
	int16		class;
	Oid			leaf;
	bool		expiring;		/* its leaf may be removed within minutes */
	ItemPointerData tid;
	Datum	   *values;
	bool	   *isnull;
	const int  *columns;
} EbLogRow;

typedef struct EbLogScan EbLogScan;

/*
 * Events of all buses with after < id < before, in id order.  before is at
 * most eb_log_horizon(), and the snapshot was taken after it.  Begin, next
 * and end run in one memory context's lifetime; leaves stay locked until end.
 */
extern EbLogScan *eb_log_scan_begin(EbTick after, EbTick before, Snapshot snapshot);
extern bool eb_log_scan_next(EbLogScan *scan, EbLogRow *row);
extern void eb_log_scan_end(EbLogScan *scan);

/* About how many events lie between two ticks, from a sample of pages. */
extern int64 eb_log_estimate(EbTick after, EbTick before);

/* All of a row, copied into the current context. */
extern void eb_log_row_event(const EbLogRow *row, EbEvent *event);

/* ---- log_summary.c: what BRIN knows of ranges ---- */

/* A leaf's BRIN index if its ranges are ours, locked AccessShare; or NULL. */
extern Relation eb_log_open_brin(Relation leaf);

/*
 * Summarize the ranges of a leaf before the one of block and the tail, newest
 * first, until one that was summarized already, and not more than most.  Does
 * nothing if somebody else is at it.
 */
extern void eb_log_summarize(Oid leaf, BlockNumber block, int most);

/*
 * Has BRIN a summary of the range of a block, or is one being made?  If not,
 * after a row was written to the block, the row needs no entry: who makes the
 * summary from now on will see it.  True if in doubt.  The index is locked.
 */
extern bool eb_log_range_summarized(Oid index, BlockNumber block);

/* The first row of a range of blocks was written, to this block; in a put. */
extern void eb_log_range_begun(Oid leaf, BlockNumber block);

/* ---- log_envelope.c: the JSON that matcher and consumers see ---- */

/*
 * The whole envelope: version, id, detail-type, source, account, time, region,
 * resources, detail (and replay-name on replayed events).  The detail's bytes
 * are copied as they are, never walked.  erased: detail is null, and a key
 * "erased": true says why.
 */
extern Jsonb *eb_log_envelope(const EbEvent *event, bool erased);

/* The value of a container's element as a Jsonb of its own, without walking it. */
extern Jsonb *eb_jsonb_from_value(const JsonbValue *value);

/* time in an envelope: UTC, YYYY-MM-DDTHH:MM:SS[.ffffff]Z. */
#define EB_TIME_LENGTH	40		/* of buf */
extern void eb_format_time(TimestampTz time, char *buf);

/* ---- log_storage.c: tables ---- */

/*
 * Make eb.events if it does not exist, the retention class for keep (NULL: for
 * ever) if there is none, and its leaf for now.  Runs DDL as the owner in the
 * current transaction.  Returns the class.
 */
extern int16 eb_log_class_ensure(const Interval *keep);

/* The class with the longest retention among two. */
extern int16 eb_log_class_longer(int16 a, int16 b);

/* The class with the shortest retention that is at least keep; 0 if there is none. */
extern int16 eb_log_class_at_least(const Interval *keep);

/* All classes, in the current context; returns how many. */
extern int	eb_log_classes(int16 **result);

/* Is a leaf of the class that ends at an instant over, or within minutes? */
extern bool eb_log_expiring(int16 class, TimestampTz to);

/* The leaf for a class and instant; InvalidOid if there is none. */
extern Oid	eb_log_leaf(int16 class, TimestampTz at);

/*
 * Make and attach the leaf for (class, at) unless it exists, in the current
 * transaction.  Never called in a publisher's transaction: others would wait
 * for its end.
 */
extern Oid	eb_log_leaf_create(int16 class, TimestampTz at);

/* All leaves; array in the current context, sorted by class and start. */
typedef struct EbLogLeaf
{
	Oid			relid;
	int16		class;
	TimestampTz from;			/* inclusive */
	TimestampTz to;				/* exclusive */
} EbLogLeaf;
extern int	eb_log_leaves(EbLogLeaf **leaves);

/* ---- worker/worker_partition.c ---- */

/*
 * The leaf for (class, at), made by a background worker in a transaction of
 * its own if it is missing; waits for that.  Raises if no worker could start,
 * with a HINT to call eb.maintain().
 */
extern Oid	eb_partition_request(int16 class, TimestampTz at);

#endif							/* EB_LOG_H */
