/*-------------------------------------------------------------------------
 *
 * bus.h
 *	  Buses: configuration, entries, the compiled rule set, publishing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_BUS_H
#define EB_BUS_H

#include "log/log.h"
#include "pattern/pattern.h"
#include "queue/queue.h"

typedef struct EbBus
{
	char		name[NAMEDATALEN];
	int32		bus_id;
	Oid			view;			/* eb.bus_<name> */
	int16		class;
	int64		rules_version;
	bool		content_dedup;	/* the content serves where no dedup_id is
								 * given */
} EbBus;

/*
 * Privileges on a bus's view: INSERT publishes, SELECT reads the log, TRUNCATE
 * administers (as on a queue's view).  Whoever manages rules needs SELECT as
 * well: a rule can send every event to where its author reads it.
 */
#define EB_BUS_PUBLISH		ACL_INSERT
#define EB_BUS_READ			ACL_SELECT
#define EB_BUS_ADMIN		ACL_TRUNCATE
#define EB_BUS_MANAGE_RULES	(ACL_SELECT | ACL_TRUNCATE)

#define EB_DEFAULT_BUS		"default"

/* ---- bus_lookup.c ---- */

/* As eb_queue_lookup. */
extern const EbBus *eb_bus_lookup(const char *name, bool missing_ok);

/* The bus whose view this is, or NULL. */
extern const EbBus *eb_bus_by_view(Oid view);

/*
 * As eb_bus_lookup, and the bus "default" is made if it is missing and the
 * current user may execute eb.create_bus().
 */
extern const EbBus *eb_bus_use(const char *name);

/*
 * A change of what a bus's compiled rules are made from: lock the bus's row
 * to the end of the transaction, and take the version of the change.  Between
 * eb_owner_begin and eb_owner_end.
 */
extern int64 eb_bus_take_version(const char *bus);

/* ---- bus_transform.c: input transformation of a target ---- */

/* What a path without a value gives. */
typedef enum EbOnMissing
{
	EB_MISSING_NULL,
	EB_MISSING_OMIT,
	EB_MISSING_ERROR
} EbOnMissing;

/* "null", "omit" or "error", as in eb.targets; raises 22023 on anything else. */
extern EbOnMissing eb_transform_on_missing(const char *text);

/* limits of docs/concepts.md, "Shaping what a target gets" */
#define EB_TRANSFORM_MAX_VARIABLES	100
#define EB_TRANSFORM_MAX_BYTES		(256 * 1024)	/* of input, input_path,
													 * template */
#define EB_TRANSFORM_MAX_GROWTH		16	/* result: this many times
										 * eb.max_entry_size */

/*
 * A target's transformation, compiled into one relocatable block (offsets
 * only), so that it can lie in a shared rule set.
 */
typedef struct EbTransform
{
	Size		size;			/* bytes of the whole block */
} EbTransform;

/* Variables that are not in the envelope. */
typedef struct EbTransformVars
{
	const char *rule_name;
	const char *bus_name;
	TimestampTz ingestion_time;
} EbTransformVars;

/*
 * Check and compile; at most one of input, input_path, input_transformer is
 * not NULL (none: the envelope as it is; do not compile that).  Raises 22023
 * with the place at fault, 54000 over a limit.  for_bus: the result will be an
 * event's detail, so a constant or template must be an object; what a path
 * yields otherwise is wrapped as {"value": ...}.
 */
extern EbTransform *eb_transform_compile(Jsonb *input, const char *input_path,
										 Jsonb *input_transformer,
										 EbOnMissing on_missing, bool for_bus);

/* The body for an event; raises only with EB_MISSING_ERROR or a result over the size limit. */
extern Jsonb *eb_transform_apply(const EbTransform *transform, Jsonb *envelope,
								 const EbTransformVars *vars);

/* ---- bus_ruleset.c: compiled rules of a bus ---- */

typedef enum EbTargetKind
{
	EB_TARGET_QUEUE,
	EB_TARGET_BUS,
	EB_TARGET_NOTIFY
} EbTargetKind;

typedef struct EbRuleSet EbRuleSet;

/*
 * The newest committed rule set of a bus (and the own transaction's changes).
 * Call after eb_log_begin(), which accepted invalidations.  Valid until the
 * end of the transaction or the next call for the same bus.
 */
extern const EbRuleSet *eb_ruleset_get(const EbBus *bus);

/* ---- bus_publish.c ---- */

typedef struct EbPublish EbPublish;
typedef struct EbPublishBus EbPublishBus;

/*
 * Publish any number of events to any number of buses in one call:
 *
 *	 publish = eb_publish_begin("eb.put_events()");
 *	 bus = eb_publish_bus(publish, "orders", true);
 *	 for each event:
 *		 event = eb_publish_next(publish);
 *		 fill it in; what it points to in eb_publish_context(publish)
 *		 eb_publish_add(publish, bus, event);
 *	 eb_publish_finish(publish);
 *
 * command is for errors in read-only transactions.  eb_publish_next may write what was added so far and then resets the context
 * (memory stays bounded); so an event, its id too, is good until the next
 * eb_publish_next.  eb_publish_add fills in id (unless it is set), class, bus,
 * version, time (0: now) and the context (correlation, cause, trace) where
 * the event leaves it NULL, matches and prepares the deliveries; it returns
 * the number of rules that matched.  An event whose dedup id (or content) the
 * bus knows is not published: it gets the first one's id, and duplicate is
 * set.  Nothing is written for sure before
 * eb_publish_finish.
 */
extern EbPublish *eb_publish_begin(const char *command);
extern EbPublishBus *eb_publish_bus(EbPublish *publish, const char *name,
									bool check_privilege);
extern MemoryContext eb_publish_context(EbPublish *publish);
extern EbEvent *eb_publish_next(EbPublish *publish);
extern int	eb_publish_add(EbPublish *publish, EbPublishBus *bus, EbEvent *event);
extern void eb_publish_finish(EbPublish *publish);

/*
 * Deliver events that are in the log to the targets of the bus's rules as
 * they are now: all rules, or those named.  Nothing is put in the log, but
 * for events that go through bus targets (through_buses).  backfill: only to
 * targets that did not get the event when it was put, and only events that
 * were put under from_version of the bus's rules or a later one.
 *
 * Rules that are named must be there and enabled, and of a backfill not be
 * changed since it was made; else it raises.
 *
 * Event and pointer stay until eb_redeliver_finish.  copy_body: the event's
 * partition is about to be removed.  eb_redeliver_add returns the number of
 * targets.
 */
typedef struct EbRedeliver EbRedeliver;

/* A backfill: what did not go to the named rule live, told by ruleset_version. */
typedef struct EbBackfillVersions
{
	int64		from;			/* only these and later ones */
	int64		made;			/* of the bus when it was started; 0: not known */
	int64	   *routed;			/* first and end of ranges that went there live */
	int			nrouted;		/* numbers in it: two a range */
} EbBackfillVersions;

/* backfill: NULL for a replay. */
extern EbRedeliver *eb_redeliver_begin(const char *bus, const char *replay,
									   char **rules, int nrules,
									   bool through_buses,
									   const EbBackfillVersions *backfill);
extern int	eb_redeliver_add(EbRedeliver *redeliver, EbEvent *event,
							 EbEventPointer *pointer, bool copy_body);
extern void eb_redeliver_finish(EbRedeliver *redeliver);

#endif							/* EB_BUS_H */
