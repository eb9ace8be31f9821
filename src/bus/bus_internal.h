/*-------------------------------------------------------------------------
 *
 * bus_internal.h
 *	  What the files of src/bus share among themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_BUS_INTERNAL_H
#define EB_BUS_INTERNAL_H

#include "access/xact.h"
#include "bus/bus.h"
#include "once/once.h"
#include "port/atomics.h"
#include "utils/snapshot.h"

/* ---- bus_ruleset.c: layout of a compiled rule set ---- */

/*
 * One block; all references are offsets from its start, so it can lie at
 * different addresses in different backends:
 *
 *	 EbRuleSet
 *	 EbRule[nrules]					sorted by name; enabled ones only
 *	 EbRuleTarget[ntargets]			those of a rule are neighbours
 *	 EbRuleDestination[ndestinations]	each queue, bus and channel once
 *	 EbRuleCounters[nrules]			only in shared memory
 *	 int16[narchives]				retention classes of the bus's archives
 *	 EbPatternSet					rule numbers are indexes of EbRule; after
 *									them, of archives
 *	 strings and transformations
 *
 * Everything but the counters is read-only once built.
 */
struct EbRuleSet
{
	Size		size;			/* bytes of the whole block */
	int64		version;		/* rules_version of the bus */
	int32		bus_id;
	int32		nrules;
	int32		ntargets;
	int32		ndestinations;
	int32		narchives;		/* enabled ones with a pattern */
	int16		archive_class;	/* of those without one, which take every
								 * event; 0: none */
	bool		shared;			/* the counters exist */
	Size		rules;			/* offsets */
	Size		targets;
	Size		destinations;
	Size		counters;
	Size		archives;
	Size		patterns;
};

typedef struct EbRule
{
	Size		name;
	int32		first_target;
	int32		ntargets;
	int64		since_version;
} EbRule;

typedef struct EbRuleTarget
{
	int32		target_id;
	int32		destination;	/* index */
	Size		name;
	Size		transform;		/* 0: the envelope (or detail) as it is */
	Size		source;			/* bus targets; 0: as it was */
	Size		detail_type;
	int64		since_version;
} EbRuleTarget;

typedef struct EbRuleDestination
{
	EbTargetKind kind;
	Size		name;
} EbRuleDestination;

/* Since the rules were first compiled in this server's life; aborted puts count. */
typedef struct EbRuleCounters
{
	pg_atomic_uint64 matched;
	pg_atomic_uint64 last_matched;	/* TimestampTz */
	pg_atomic_uint64 hop_limited;	/* forwards that eb.max_hops stopped */
} EbRuleCounters;

#define EB_RULESET_AT(set, type, offset) \
	((type *) ((char *) (set) + (offset)))
#define EB_RULESET_RULES(set) EB_RULESET_AT(set, const EbRule, (set)->rules)
#define EB_RULESET_TARGETS(set) EB_RULESET_AT(set, const EbRuleTarget, (set)->targets)
#define EB_RULESET_DESTINATIONS(set) \
	EB_RULESET_AT(set, const EbRuleDestination, (set)->destinations)
#define EB_RULESET_COUNTERS(set) EB_RULESET_AT(set, EbRuleCounters, (set)->counters)
#define EB_RULESET_ARCHIVES(set) EB_RULESET_AT(set, const int16, (set)->archives)
#define EB_RULESET_PATTERNS(set) EB_RULESET_AT(set, const EbPatternSet, (set)->patterns)
#define EB_RULESET_STRING(set, offset) EB_RULESET_AT(set, const char, offset)

/* bus_compile.c: the block from the bus's rows as of a snapshot, palloc'd. */
extern EbRuleSet *eb_ruleset_compile(const char *bus, int32 bus_id, int64 version,
									 Snapshot snapshot);

/* A queue that a rule set sends to, with the retention class that it asks for. */
typedef struct EbRouteQueue
{
	EbQueue		queue;
	int16		class;			/* 0: none is long enough */
} EbRouteQueue;

/*
 * The queue behind a destination of this rule set; looked up once and kept
 * until the configuration of queues changes.
 */
extern const EbRouteQueue *eb_ruleset_queue(const EbRuleSet *set, int destination);

extern void eb_ruleset_at_xact(XactEvent event);

/* ---- bus_config.c ---- */

/* Make a bus as the current user; skipped if it exists by now and that is ok. */
extern void eb_bus_create(const char *name, const Interval *retention,
						  const char *description, Interval *dedup_window,
						  bool content_dedup, bool exists_ok);

/*
 * Publishing under a version that this transaction made: a rule change that
 * follows must take a new one.
 */
extern void eb_bus_version_used(void);

/* ---- bus_entry.c ---- */

/*
 * Fill in an event from an entry in one of the shapes that put_events takes.
 * *bus gets the bus that the entry names, or NULL.  All of the event's memory
 * is the current context's.  index (from 1) is for messages.
 */
extern void eb_entry_parse(const JsonbValue *entry, int index, EbEvent *event,
						   const char **bus);

/*
 * The bus that the first of entries names, if each of them names one, so that
 * the bus of the call plays no part; else NULL.  entries is an array.
 */
extern const char *eb_entries_bus(Jsonb *entries);

/* What the text of an entry's "time" stands for; false if it is no time. */
extern bool eb_entry_time(const JsonbValue *value, TimestampTz *result);

/*
 * Check what does not come from an entry: index 0, or from an entry.  Names
 * of the fields are those of the caller's arguments or columns.
 */
extern void eb_event_check(const EbEvent *event, int index,
						   const char *source_name, const char *type_name,
						   const char *detail_name);
extern void eb_event_check_headers(const Jsonb *headers, int index);
extern void eb_event_check_traceparent(const char *traceparent, int index,
									   const char *name);
extern void eb_event_check_time(TimestampTz time, int index, const char *name);
extern void eb_event_check_resources(Datum resources, int index);

extern void eb_event_check_dedup_id(const char *dedup_id, int index, const char *name);

/* ---- bus_dedup.c ---- */

/* Is an event looked up among those that its bus has had? */
extern bool eb_event_dedups(const EbBus *bus, const EbEvent *event);

/* Look it up; its id is set.  A duplicate gets the first one's. */
extern void eb_event_claim(EbOnceKeys *keys, EbEvent *event);

/*
 * Claim what a put's entries for its own bus need, all at once.  An element
 * for each entry, with its id; those with a dedup_id or key were claimed.
 * NULL: none.
 */
extern EbDedup *eb_entries_claim(EbPublish *publish, EbPublishBus *bus, Jsonb *entries);

/* ---- bus_publish.c ---- */

extern const EbBus *eb_publish_bus_config(const EbPublishBus *bus);

/* The dedup ids of a bus; open to the end of the publish. */
extern EbOnceKeys *eb_publish_keys(EbPublish *publish, EbPublishBus *bus);

/* ---- bus_view.c ---- */

/* Make eb.bus_<name>; runs as the owner.  Returns its oid. */
extern Oid	eb_bus_view_create(const char *name, int32 bus_id);
extern void eb_bus_view_at_xact(XactEvent event);
extern void eb_bus_view_at_subxact(SubXactEvent event, SubTransactionId mine,
								   SubTransactionId parent);

#endif							/* EB_BUS_INTERNAL_H */
