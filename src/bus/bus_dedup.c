/*-------------------------------------------------------------------------
 *
 * bus_dedup.c
 *	  Events that a bus has had already: dedup ids, and content in their place.
 *
 * An event is claimed just before it is routed, in the order of a put.  Two
 * puts that have the same ids in different orders could so wait for each
 * other, as two multi-row INSERTs into a table with a unique index can.
 * put_events knows all of its entries, so it claims their ids ahead, in the
 * order of their keys, which no other put_events can meet in another order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "bus/bus_internal.h"
#include "clock.h"
#include "compat.h"

bool
eb_event_dedups(const EbBus *bus, const EbEvent *event)
{
	return event->dedup_id != NULL ||
		(bus->content_dedup && !event->distinct && event->replay == NULL);
}

/* What stands for an event that eb_event_dedups(); its id is set. */
static void
fill(EbDedup *dedup, const EbEvent *event)
{
	dedup->event_id = event->id;
	dedup->dedup_id = event->dedup_id;
	dedup->has_key = false;
	if (dedup->dedup_id == NULL)
		eb_dedup_content(dedup, event->source, event->detail_type, event->detail);
}

void
eb_event_claim(EbOnceKeys *keys, EbEvent *event)
{
	EbDedup		dedup;

	fill(&dedup, event);
	eb_dedup_claim(keys, &dedup, 1);
	event->id = dedup.event_id;
	event->duplicate = dedup.duplicate;
}

/* May an entry have to be claimed, as far as a quick look shows? */
static bool
may_dedup(const EbBus *bus, const JsonbValue *entry)
{
	static const char *const keys[] = {"dedup-id", "DedupId"};
	JsonbValue	value;

	if (entry->type != jbvBinary || !JsonContainerIsObject(entry->val.binary.data))
		return false;
	if (bus->content_dedup)
		return true;
	for (int i = 0; i < (int) lengthof(keys); i++)
	{
		if (getKeyJsonValueFromContainer(entry->val.binary.data, keys[i],
										 strlen(keys[i]), &value))
			return true;
	}
	return false;
}

/* All entries get their ids here, so that these are in the entries' order. */
static EbDedup *
batch_with_ids(int n)
{
	EbDedup    *batch = palloc_extended(n * sizeof(EbDedup),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	EbTick		tick = eb_clock_take(n);

	for (int i = 0; i < n; i++)
	{
		eb_tick_uuid(tick, &batch[i].event_id);
		tick = eb_tick_next(tick);
	}
	return batch;
}

EbDedup *
eb_entries_claim(EbPublish *publish, EbPublishBus *bus, Jsonb *entries)
{
	const EbBus *config = eb_publish_bus_config(bus);
	int			n = JB_ROOT_COUNT(entries);
	EbDedup    *batch = NULL;
	MemoryContext context;
	JsonbIterator *it;
	JsonbValue	value;
	int			wanted = 0;

	/* a single one waits for nobody while it holds something */
	if (n < 2)
		return NULL;

	context = AllocSetContextCreate(CurrentMemoryContext, "pg_eventbus entry to claim",
									ALLOCSET_DEFAULT_SIZES);
	it = JsonbIteratorInit(&entries->root);
	(void) JsonbIteratorNext(&it, &value, true);	/* WJB_BEGIN_ARRAY */
	for (int i = 0; JsonbIteratorNext(&it, &value, true) == WJB_ELEM; i++)
	{
		EbEvent		event = {.time = DT_NOBEGIN};
		const char *bus_name;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (!may_dedup(config, &value))
			continue;
		if (batch == NULL)
			batch = batch_with_ids(n);
		old = MemoryContextSwitchTo(context);
		eb_entry_parse(&value, i + 1, &event, &bus_name);

		/* those for other buses are claimed as they come */
		if ((bus_name == NULL || strcmp(bus_name, config->name) == 0) &&
			eb_event_dedups(config, &event))
		{
			event.id = batch[i].event_id;
			fill(&batch[i], &event);
			MemoryContextSwitchTo(old);
			if (batch[i].dedup_id)
				batch[i].dedup_id = pstrdup(batch[i].dedup_id);
			wanted++;
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	if (wanted > 0)
		eb_dedup_claim(eb_publish_keys(publish, bus), batch, n);
	MemoryContextDelete(context);
	return wanted > 0 ? batch : NULL;
}
