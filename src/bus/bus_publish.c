/*-------------------------------------------------------------------------
 *
 * bus_publish.c
 *	  From an event to its row in the log and its deliveries.
 *
 * Order of a put: the log is locked (which accepts invalidations), an id is
 * taken from the clock, the event is looked up among those that the bus has
 * had (bus_dedup.c; most events need not be), the newest committed rule set is looked up, the
 * event's envelope is built once and matched, deliveries are prepared, and
 * log and queues are written together at the end of the chunk: one multi
 * insert per leaf and queue, the log first, since deliveries hold the place
 * where their event went.
 *
 * An event for another bus is put on a work list, not followed by recursion;
 * each forward has one hop more, and eb.max_hops ends a loop.  What a rule
 * set that fans out to itself can make of one event is bounded as well.
 *
 * Memory: an EbPublish and its buses live in the caller's context; events,
 * bodies and deliveries of a chunk in chunk_context, reset when a chunk is
 * written; envelopes in event_context, reset after each event.
 *
 * No code of users runs between two flushes, so a rule set that was looked up
 * for an event is good until the event is routed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "bus/bus_internal.h"
#include "catalog.h"
#include "compat.h"
#include "eb.h"
#include "worker/worker.h"

/* A chunk is written when it has so many events, or bytes of details and bodies. */
#define CHUNK_EVENTS	1024
#define CHUNK_BYTES		(4 * 1024 * 1024)

/* Forwards that one event may cause, over all hops. */
#define MAX_FORWARDS	10000

/* Payloads of NOTIFY are shorter than this (async.c). */
#define NOTIFY_PAYLOAD	8000

struct EbPublishBus
{
	EbBus		bus;
	EbOnceKeys *keys;			/* dedup ids; NULL until an event has one */
	bool		listed;			/* readers of its log are woken at commit */
	EbPublishBus *next;
};

typedef struct Forward
{
	EbEvent    *event;
	EbPublishBus *bus;
} Forward;

struct EbPublish
{
	const char *command;
	MemoryContext context;		/* the caller's */
	MemoryContext chunk_context;
	MemoryContext event_context;
	EbLogWriter *log;			/* NULL before the first bus */
	EbSendBatch *send;			/* NULL before the chunk's first delivery */
	EbPublishBus *buses;
	int			nevents;		/* in the chunk */
	Size		bytes;
	Forward    *forwards;		/* work list of one event */
	int			nforwards;
	int			forwards_room;
	bool		warned;			/* of a hop limit; the rest is only counted */
};

/* What routing one event needs at hand. */
typedef struct Routing
{
	EbPublish  *publish;
	EbPublishBus *bus;
	const EbRuleSet *set;
	EbEvent    *event;
	Jsonb	   *envelope;
	EbEventPointer *pointer;	/* NULL until a delivery needs it */
	EbRedeliver *redeliver;		/* the event is in the log already */
} Routing;

/* Delivering events of the log again. */
struct EbRedeliver
{
	EbPublish  *publish;
	EbPublishBus bus;			/* not among publish->buses: nothing is put
								 * there */
	const char *replay;
	char	  **rules;			/* names, NULL: all */
	int			nrules;
	bool		through_buses;
	const EbBackfillVersions *backfill; /* only what did not go there live */
	const EbRuleSet *set;		/* wanted is for it */
	int64		version;
	bool	   *wanted;			/* by rule number */
	bool		copy_body;		/* of the event at hand */
	int			deliveries;		/* of it */
};

static EbPatternScratch *scratch = NULL;

EbPublish  *
eb_publish_begin(const char *command)
{
	EbPublish  *publish;

	PreventCommandDuringRecovery(command);
	PreventCommandIfReadOnly(command);
	PreventCommandIfParallelMode(command);

	publish = palloc0(sizeof(EbPublish));
	publish->command = command;
	publish->context = CurrentMemoryContext;
	publish->chunk_context = AllocSetContextCreate(CurrentMemoryContext,
												   "pg_eventbus publish chunk",
												   ALLOCSET_DEFAULT_SIZES);
	publish->event_context = AllocSetContextCreate(CurrentMemoryContext,
												   "pg_eventbus publish event",
												   ALLOCSET_DEFAULT_SIZES);
	if (unlikely(!scratch))
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		scratch = eb_pattern_scratch_create();
		MemoryContextSwitchTo(old);
	}
	return publish;
}

EbPublishBus *
eb_publish_bus(EbPublish *publish, const char *name, bool check_privilege)
{
	EbPublishBus *pbus;
	const EbBus *bus;
	MemoryContext old;

	for (pbus = publish->buses; pbus; pbus = pbus->next)
	{
		if (strcmp(pbus->bus.name, name) == 0)
			break;
	}
	if (!pbus)
	{
		old = MemoryContextSwitchTo(publish->context);
		bus = check_privilege ? eb_bus_use(name) : eb_bus_lookup(name, false);
		if (!publish->log)
		{
			publish->log = eb_log_begin();
			bus = eb_bus_lookup(name, false);
		}
		pbus = palloc(sizeof(EbPublishBus));
		pbus->bus = *bus;
		pbus->keys = NULL;
		pbus->listed = false;
		pbus->next = publish->buses;
		publish->buses = pbus;
		MemoryContextSwitchTo(old);
	}
	if (check_privilege)
		eb_check_view_privilege(pbus->bus.view, EB_BUS_PUBLISH, "bus", name);
	return pbus;
}

const EbBus *
eb_publish_bus_config(const EbPublishBus *bus)
{
	return &bus->bus;
}

EbOnceKeys *
eb_publish_keys(EbPublish *publish, EbPublishBus *bus)
{
	MemoryContext old;

	if (bus->keys)
		return bus->keys;
	old = MemoryContextSwitchTo(publish->context);
	bus->keys = eb_once_open(eb_once_lookup(EB_ONCE_BUS, bus->bus.name, false),
							 publish->command);
	MemoryContextSwitchTo(old);
	return bus->keys;
}

MemoryContext
eb_publish_context(EbPublish *publish)
{
	return publish->chunk_context;
}

static void
flush(EbPublish *publish)
{
	MemoryContext old;

	if (publish->nevents == 0 && !publish->send)
		return;
	old = MemoryContextSwitchTo(publish->chunk_context);
	if (publish->log)
		eb_log_flush(publish->log);
	if (publish->send)
		eb_send_finish(publish->send, NULL);
	MemoryContextSwitchTo(old);
	publish->send = NULL;
	publish->nevents = 0;
	publish->bytes = 0;
}

EbEvent    *
eb_publish_next(EbPublish *publish)
{
	EbEvent    *event;

	if (unlikely(publish->nevents >= CHUNK_EVENTS || publish->bytes >= CHUNK_BYTES))
	{
		flush(publish);
		MemoryContextReset(publish->chunk_context);
	}
	event = MemoryContextAllocZero(publish->chunk_context, sizeof(EbEvent));
	event->time = DT_NOBEGIN;	/* not given */
	return event;
}

/* ---- context of an event ---- */

/* A string (or number) of the detail, or NULL. */
static const char *
detail_text(Jsonb *detail, const char *key)
{
	JsonbValue	value;

	if (!getKeyJsonValueFromContainer(&detail->root, key, strlen(key), &value))
		return NULL;
	if (value.type == jbvString && value.val.string.len > 0)
		return pnstrdup(value.val.string.val, value.val.string.len);
	if (value.type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value.val.numeric)));
	return NULL;
}

static const char *
setting_text(const char *setting)
{
	return setting && setting[0] != '\0' ? setting : NULL;
}

/*
 * The entry's own, else the detail's, the message's in process, the session's:
 * what is known about this event goes before what was said for all of them.
 */
static void
fill_context(EbEvent *event)
{
	const EbMessageContext *message = eb_message_context();

	if (!event->correlation_id)
		event->correlation_id = detail_text(event->detail, "correlationId");
	if (!event->causation_id)
		event->causation_id = detail_text(event->detail, "causationId");
	if (message)
	{
		if (!event->correlation_id)
			event->correlation_id = message->correlation_id;
		if (!event->causation_id)
			event->causation_id = message->causation_id;
		if (!event->traceparent)
			event->traceparent = message->traceparent;
		event->hops = Max(event->hops, message->hops);
	}
	if (!event->correlation_id)
		event->correlation_id = setting_text(eb_correlation_id);
	if (!event->causation_id)
		event->causation_id = setting_text(eb_causation_id);
	if (!event->traceparent)
		event->traceparent = setting_text(eb_traceparent);
}

/* ---- targets ---- */

static const char *
rule_name(Routing *r, const EbRule *rule)
{
	return EB_RULESET_STRING(r->set, rule->name);
}

static Jsonb *
transformed(Routing *r, const EbRule *rule, const EbRuleTarget *target)
{
	EbTransformVars vars;
	Jsonb	   *body;

	vars.rule_name = rule_name(r, rule);
	vars.bus_name = r->bus->bus.name;
	vars.ingestion_time = eb_tick_time(eb_uuid_tick(&r->event->id));
	body = eb_transform_apply(EB_RULESET_AT(r->set, const EbTransform,
											target->transform),
							  r->envelope, &vars);
	r->publish->bytes += VARSIZE(body);
	return body;
}

static void
deliver_queue(Routing *r, const EbRule *rule, const EbRuleTarget *target)
{
	const EbRouteQueue *route = eb_ruleset_queue(r->set, target->destination);
	EbDelivery	delivery = {.delay = -1};

	if (unlikely(!route))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("queue \"%s\" does not exist",
						EB_RULESET_STRING(r->set,
										  EB_RULESET_DESTINATIONS(r->set)[target->destination].name)),
				 errdetail("It is a target of rule \"%s\" of bus \"%s\".",
						   rule_name(r, rule), r->bus->bus.name),
				 errhint("Create the queue, or remove the target with eb.remove_target().")));

	if (!r->pointer)
		r->pointer = palloc(sizeof(EbEventPointer));
	delivery.event = r->pointer;
	delivery.target_id = target->target_id;
	if (target->transform)
		delivery.body = transformed(r, rule, target);
	else if (r->redeliver)
	{
		/* the event is filed; if it will be gone in a moment, take it along */
		if (r->redeliver->copy_body)
		{
			delivery.body = palloc(VARSIZE(r->envelope));
			memcpy(delivery.body, r->envelope, VARSIZE(r->envelope));
		}
	}
	else if (route->class != r->event->class && route->class != 0)
		r->event->class = eb_log_class_longer(r->event->class, route->class);
	if (route->queue.fifo)
		delivery.group_id = r->event->group_key ? r->event->group_key : r->event->source;
	delivery.replay = r->event->replay;
	if (!r->publish->send)
		r->publish->send = eb_send_begin();
	eb_send_add(r->publish->send, &route->queue, &delivery);
}

static void
stop_forward(Routing *r, int rule_no, const EbRule *rule, const char *to)
{
	if (r->set->shared)
		pg_atomic_fetch_add_u64(&EB_RULESET_COUNTERS(r->set)[rule_no].hop_limited, 1);
	if (r->publish->warned)
		return;
	r->publish->warned = true;
	if (r->event->hops >= eb_max_hops)
		ereport(WARNING,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("rule \"%s\" of bus \"%s\" did not forward an event to bus \"%s\"",
						rule_name(r, rule), r->bus->bus.name, to),
				 errdetail("The event has been forwarded %d times, which is the limit.",
						   r->event->hops),
				 errhint("Look for a loop among the rules of these buses.  The limit is the setting \"eb.max_hops\".")));
	else
		ereport(WARNING,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("rule \"%s\" of bus \"%s\" did not forward an event to bus \"%s\"",
						rule_name(r, rule), r->bus->bus.name, to),
				 errdetail("One event has been forwarded %d times on different ways, which is the limit.",
						   MAX_FORWARDS),
				 errhint("Look for a loop among the rules of these buses.")));
}

static void
deliver_bus(Routing *r, int rule_no, const EbRule *rule, const EbRuleTarget *target)
{
	EbPublish  *publish = r->publish;
	const char *to = EB_RULESET_STRING(r->set,
									   EB_RULESET_DESTINATIONS(r->set)[target->destination].name);
	EbEvent    *event;

	if (r->event->hops >= eb_max_hops || publish->nforwards >= MAX_FORWARDS)
	{
		stop_forward(r, rule_no, rule, to);
		return;
	}
	event = palloc(sizeof(EbEvent));
	*event = *r->event;
	memset(&event->id, 0, sizeof(event->id));
	event->dedup_id = NULL;
	event->claimed = false;
	event->hops++;
	event->causation_id = DatumGetCString(DirectFunctionCall1(uuid_out,
															  UUIDPGetDatum(&r->event->id)));
	if (target->transform)
		event->detail = transformed(r, rule, target);
	if (target->source)
		event->source = pstrdup(EB_RULESET_STRING(r->set, target->source));
	if (target->detail_type)
		event->detail_type = pstrdup(EB_RULESET_STRING(r->set, target->detail_type));

	if (publish->nforwards == publish->forwards_room)
	{
		publish->forwards_room = Max(publish->forwards_room * 2, 16);
		publish->forwards = publish->forwards ?
			repalloc(publish->forwards, publish->forwards_room * sizeof(Forward)) :
			MemoryContextAlloc(publish->context,
							   publish->forwards_room * sizeof(Forward));
	}
	publish->forwards[publish->nforwards].event = event;
	publish->forwards[publish->nforwards].bus = eb_publish_bus(publish, to, false);
	publish->nforwards++;
}

static void
deliver_notify(Routing *r, const EbRule *rule, const EbRuleTarget *target)
{
	Jsonb	   *body = target->transform ? transformed(r, rule, target) : r->envelope;
	char	   *payload = JsonbToCString(NULL, &body->root, VARSIZE(body));

	if (strlen(payload) >= NOTIFY_PAYLOAD)
		payload = psprintf("{\"id\": \"%s\", \"bus\": \"%s\", \"too-long\": true}",
						   DatumGetCString(DirectFunctionCall1(uuid_out,
															   UUIDPGetDatum(&r->event->id))),
						   r->bus->bus.name);
	Async_Notify(EB_RULESET_STRING(r->set,
								   EB_RULESET_DESTINATIONS(r->set)[target->destination].name),
				 payload);
}

/* ---- one event ---- */

/* The rule was enabled for a time, too, before it was disabled and enabled again. */
static bool
was_routed(const EbBackfillVersions *backfill, int64 version)
{
	for (int i = 0; i + 1 < backfill->nrouted; i += 2)
	{
		if (version >= backfill->routed[i] && version < backfill->routed[i + 1])
			return true;
	}
	return false;
}

/* Does a target get an event that is delivered again? */
static bool
redeliver_wants(Routing *r, const EbRule *rule, const EbRuleTarget *target)
{
	EbRedeliver *redeliver = r->redeliver;

	if (EB_RULESET_DESTINATIONS(r->set)[target->destination].kind == EB_TARGET_BUS &&
		!redeliver->through_buses)
		return false;

	/* what was put under this version or a later one went there then */
	if (redeliver->backfill &&
		(r->event->ruleset_version >= Max(rule->since_version, target->since_version) ||
		 r->event->ruleset_version < redeliver->backfill->from ||
		 was_routed(redeliver->backfill, r->event->ruleset_version)))
		return false;
	redeliver->deliveries++;
	return true;
}

static void
deliver_rule(Routing *r, int rule_no)
{
	const EbRule *rule = &EB_RULESET_RULES(r->set)[rule_no];
	const EbRuleTarget *target = &EB_RULESET_TARGETS(r->set)[rule->first_target];

	if (r->set->shared && !r->redeliver)
	{
		EbRuleCounters *counters = &EB_RULESET_COUNTERS(r->set)[rule_no];

		pg_atomic_fetch_add_u64(&counters->matched, 1);
		pg_atomic_write_u64(&counters->last_matched,
							(uint64) eb_tick_time(eb_uuid_tick(&r->event->id)));
	}
	for (int i = 0; i < rule->ntargets; i++, target++)
	{
		if (r->redeliver && !redeliver_wants(r, rule, target))
			continue;
		switch (EB_RULESET_DESTINATIONS(r->set)[target->destination].kind)
		{
			case EB_TARGET_QUEUE:
				deliver_queue(r, rule, target);
				break;
			case EB_TARGET_BUS:
				deliver_bus(r, rule_no, rule, target);
				break;
			case EB_TARGET_NOTIFY:
				deliver_notify(r, rule, target);
				break;
		}
	}
}

static bool
id_missing(const pg_uuid_t *id)
{
	static const pg_uuid_t none = {0};

	return memcmp(id, &none, sizeof(none)) == 0;
}

/*
 * Archives have the numbers after the rules: take them off the end of what
 * matched, and file the event under the longest retention of them.  Returns
 * how many rules are left.
 */
static int
archive(Routing *r, const uint32 *matched, int nmatched)
{
	const int16 *classes = EB_RULESET_ARCHIVES(r->set);

	while (nmatched > 0 && matched[nmatched - 1] >= (uint32) r->set->nrules)
	{
		int16		class = classes[matched[--nmatched] - r->set->nrules];

		if (!r->event->replay)
			r->event->class = eb_log_class_longer(r->event->class, class);
	}
	return nmatched;
}

/* Match and prepare everything; the caller is in the chunk's context. */
static int
route(EbPublish *publish, EbPublishBus *bus, EbEvent *event)
{
	Routing		r = {.publish = publish,.bus = bus,.event = event};
	const uint32 *matched;
	int			nmatched = 0;

	if (id_missing(&event->id))
		eb_tick_uuid(eb_clock_take(1), &event->id);
	if (unlikely(!event->claimed && eb_event_dedups(&bus->bus, event)))
		eb_event_claim(eb_publish_keys(publish, bus), event);
	if (event->duplicate)
		return 0;
	if (event->time == DT_NOBEGIN)
		event->time = eb_tick_time(eb_uuid_tick(&event->id));

	r.set = eb_ruleset_get(&bus->bus);
	event->bus_id = bus->bus.bus_id;
	event->class = bus->bus.class;
	event->ruleset_version = r.set->version;

	/* what is replayed was archived when it was put first */
	if (r.set->archive_class != 0 && !event->replay)
		event->class = eb_log_class_longer(event->class, r.set->archive_class);
	if (r.set->nrules + r.set->narchives > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(publish->event_context);

		r.envelope = eb_log_envelope(event, false);
		MemoryContextSwitchTo(old);
		nmatched = eb_pattern_match(EB_RULESET_PATTERNS(r.set), scratch,
									&r.envelope->root, &matched);
		nmatched = archive(&r, matched, nmatched);
		for (int i = 0; i < nmatched; i++)
			deliver_rule(&r, matched[i]);
		MemoryContextReset(publish->event_context);
	}
	eb_log_append(publish->log, event, r.pointer);
	if (!bus->listed)
	{
		eb_notify_published(bus->bus.view, bus->bus.name);
		bus->listed = true;
	}
	publish->nevents++;
	publish->bytes += VARSIZE(event->detail);
	return nmatched;
}

int
eb_publish_add(EbPublish *publish, EbPublishBus *bus, EbEvent *event)
{
	MemoryContext old = MemoryContextSwitchTo(publish->chunk_context);
	int			nmatched;

	fill_context(event);
	nmatched = route(publish, bus, event);
	for (int i = 0; i < publish->nforwards; i++)
	{
		CHECK_FOR_INTERRUPTS();
		(void) route(publish, publish->forwards[i].bus, publish->forwards[i].event);
	}
	publish->nforwards = 0;
	MemoryContextSwitchTo(old);
	return nmatched;
}

void
eb_publish_finish(EbPublish *publish)
{
	flush(publish);
	if (publish->log)
		eb_log_end(publish->log);
	for (EbPublishBus *bus = publish->buses; bus; bus = bus->next)
	{
		if (bus->keys)
			eb_once_close(bus->keys);
	}
	MemoryContextDelete(publish->chunk_context);
	MemoryContextDelete(publish->event_context);

	/* what was put is there for the rest of the transaction */
	CommandCounterIncrement();
}

/* ---- delivering again ---- */

/*
 * A rule that is named takes part as long as it can.  Without it the replay
 * would pass its events as if they had been delivered.  A backfill would, if
 * its rule was disabled meanwhile and is enabled again, deliver a second time
 * what the rule routed before: that is told by nothing but the rule's version.
 */
static void
check_named_rule(EbRedeliver *redeliver, const EbRuleSet *set, const char *name)
{
	const EbRule *rule = NULL;

	for (int i = 0; i < set->nrules && !rule; i++)
	{
		if (strcmp(EB_RULESET_STRING(set, EB_RULESET_RULES(set)[i].name), name) == 0)
			rule = &EB_RULESET_RULES(set)[i];
	}
	if (!rule)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rule \"%s\" of bus \"%s\" is disabled, or was deleted",
						name, redeliver->bus.bus.name)));
	if (redeliver->backfill && redeliver->backfill->made > 0 &&
		rule->since_version > redeliver->backfill->made)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rule \"%s\" of bus \"%s\" was changed after its backfill was started",
						name, redeliver->bus.bus.name),
				 errhint("Start another backfill, since the time of the last event that this one delivered.")));
}

/* The rule set, and which of its rules take part. */
static void
redeliver_rules(EbRedeliver *redeliver)
{
	const EbRuleSet *set = eb_ruleset_get(&redeliver->bus.bus);

	if (redeliver->set == set && redeliver->version == set->version)
		return;
	redeliver->set = set;
	redeliver->version = set->version;
	for (int k = 0; k < redeliver->nrules; k++)
		check_named_rule(redeliver, set, redeliver->rules[k]);
	redeliver->wanted = MemoryContextAllocZero(redeliver->publish->context,
											   Max(set->nrules, 1) * sizeof(bool));
	for (int i = 0; i < set->nrules; i++)
	{
		const char *name = EB_RULESET_STRING(set, EB_RULESET_RULES(set)[i].name);

		redeliver->wanted[i] = redeliver->rules == NULL;
		for (int k = 0; k < redeliver->nrules && !redeliver->wanted[i]; k++)
			redeliver->wanted[i] = strcmp(redeliver->rules[k], name) == 0;
	}
}

EbRedeliver *
eb_redeliver_begin(const char *bus, const char *replay, char **rules, int nrules,
				   bool through_buses, const EbBackfillVersions *backfill)
{
	EbRedeliver *redeliver = palloc0(sizeof(EbRedeliver));

	AcceptInvalidationMessages();
	redeliver->publish = eb_publish_begin("replaying");
	redeliver->bus.bus = *eb_bus_lookup(bus, false);
	redeliver->replay = replay;
	redeliver->rules = rules;
	redeliver->nrules = nrules;
	redeliver->through_buses = through_buses;
	redeliver->backfill = backfill;
	redeliver_rules(redeliver);
	return redeliver;
}
int
eb_redeliver_add(EbRedeliver *redeliver, EbEvent *event, EbEventPointer *pointer,
				 bool copy_body)
{
	EbPublish  *publish = redeliver->publish;
	Routing		r = {.publish = publish,.bus = &redeliver->bus,.event = event,
	.pointer = pointer,.redeliver = redeliver};
	const uint32 *matched;
	int			nmatched;
	MemoryContext old;

	redeliver_rules(redeliver);
	redeliver->deliveries = 0;
	redeliver->copy_body = copy_body;
	r.set = redeliver->set;
	event->replay = redeliver->replay;
	event->distinct = true;		/* who replays wants it again */
	old = MemoryContextSwitchTo(publish->event_context);
	r.envelope = eb_log_envelope(event, false);
	MemoryContextSwitchTo(publish->chunk_context);
	nmatched = eb_pattern_match(EB_RULESET_PATTERNS(r.set), scratch,
								&r.envelope->root, &matched);
	nmatched = archive(&r, matched, nmatched);
	for (int i = 0; i < nmatched; i++)
	{
		if (redeliver->wanted[matched[i]])
			deliver_rule(&r, matched[i]);
	}
	MemoryContextReset(publish->event_context);
	for (int i = 0; i < publish->nforwards; i++)
	{
		CHECK_FOR_INTERRUPTS();
		(void) route(publish, publish->forwards[i].bus, publish->forwards[i].event);
	}
	publish->nforwards = 0;
	MemoryContextSwitchTo(old);
	return redeliver->deliveries;
}

void
eb_redeliver_finish(EbRedeliver *redeliver)
{
	eb_publish_finish(redeliver->publish);
}
