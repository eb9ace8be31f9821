/*-------------------------------------------------------------------------
 *
 * bus_lookup.c
 *	  Buses by name and by view, cached per backend.
 *
 * A put looks its bus up by name, so that must cost a hash probe: entries are
 * read from eb.buses once each and kept until an invalidation of that table
 * arrives.  An entry stays where it is when it is read again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "bus/bus_internal.h"
#include "catalog.h"
#include "compat.h"
#include "errors.h"

#define MAX_CACHED_BUSES 4096

typedef struct BusEntry
{
	char		name[NAMEDATALEN];	/* hash key */
	EbBus		bus;
	uint64		generation;		/* of eb.buses, before the row was read */
	bool		exists;
} BusEntry;

static HTAB *buses = NULL;

static Datum
column(HeapTuple tuple, TupleDesc desc, const char *name, bool *isnull)
{
	int			attno = SPI_fnumber(desc, name);

	if (attno <= 0)
		elog(ERROR, "table eb.buses has no column \"%s\"", name);
	return heap_getattr(tuple, attno, desc, isnull);
}

static void
read_bus(BusEntry *entry)
{
	ScanKeyData key;
	EbConfigScan *scan;
	HeapTuple	tuple;

	entry->exists = false;
	entry->generation = eb_catalog_generation(EB_BUSES);
	eb_config_key(&key, 1, entry->name);
	scan = eb_config_open(EB_BUSES, 1, &key);
	tuple = eb_config_next(scan);
	if (HeapTupleIsValid(tuple))
	{
		TupleDesc	desc = eb_config_desc(scan);
		bool		isnull;

		strlcpy(entry->bus.name, entry->name, NAMEDATALEN);
		entry->bus.bus_id = DatumGetInt32(column(tuple, desc, "bus_id", &isnull));
		entry->bus.view = DatumGetObjectId(column(tuple, desc, "log_view", &isnull));
		entry->bus.class = DatumGetInt16(column(tuple, desc, "class", &isnull));
		entry->bus.rules_version =
			DatumGetInt64(column(tuple, desc, "rules_version", &isnull));
		entry->bus.content_dedup = DatumGetBool(column(tuple, desc, "content_dedup", &isnull));
		entry->exists = true;
	}
	eb_config_close(scan);
}

const EbBus *
eb_bus_lookup(const char *name, bool missing_ok)
{
	static BusEntry *last = NULL;
	BusEntry   *entry = NULL;
	bool		found = false;

	if (likely(last && strcmp(last->name, name) == 0 &&
			   last->generation == eb_catalog_generation(EB_BUSES)))
		return &last->bus;
	last = NULL;				/* it may be removed below */

	/* longer than a bus can be called: do not let it be truncated to one */
	if (strlen(name) <= EB_NAME_MAX)
	{
		if (unlikely(!buses || hash_get_num_entries(buses) >= MAX_CACHED_BUSES))
		{
			HASHCTL		ctl = {.keysize = NAMEDATALEN,.entrysize = sizeof(BusEntry)};

			if (buses)
				hash_destroy(buses);
			buses = hash_create("pg_eventbus buses", 16, &ctl,
								HASH_ELEM | HASH_STRINGS);
		}
		entry = hash_search(buses, name, HASH_FIND, &found);
		if (unlikely(!found ||
					 entry->generation != eb_catalog_generation(EB_BUSES)))
		{
			BusEntry	fresh = {0};

			/* read before entering: an error must leave no half entry */
			strlcpy(fresh.name, name, NAMEDATALEN);
			read_bus(&fresh);
			if (fresh.exists)
			{
				entry = hash_search(buses, name, HASH_ENTER, &found);
				*entry = fresh;
			}
			else
			{
				(void) hash_search(buses, name, HASH_REMOVE, NULL);
				entry = NULL;
			}
		}
	}

	if (!entry && !missing_ok)
		eb_error_missing("bus", name, "Create it with eb.create_bus().");
	last = entry;
	return entry ? &entry->bus : NULL;
}

/*
 * The name of the view says which bus to look at; that the bus names the view
 * is what counts.  A view that was renamed is none of ours.
 */
const EbBus *
eb_bus_by_view(Oid view)
{
	const EbBus *bus;
	char	   *relname = get_rel_name(view);

	if (!relname || strncmp(relname, "bus_", 4) != 0)
		return NULL;
	bus = eb_bus_lookup(relname + 4, true);
	pfree(relname);
	return bus && bus->view == view ? bus : NULL;
}

static bool
may_create_bus(void)
{
	Oid			types[5] = {TEXTOID, INTERVALOID, TEXTOID, INTERVALOID, BOOLOID};
	Oid			function = LookupFuncName(list_make2(makeString("eb"),
													 makeString("create_bus")),
										  lengthof(types), types, true);

	return OidIsValid(function) &&
		EB_PROC_ACLCHECK(function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
}

const EbBus *
eb_bus_use(const char *name)
{
	const EbBus *bus = eb_bus_lookup(name, true);

	if (likely(bus))
		return bus;
	if (strcmp(name, EB_DEFAULT_BUS) == 0 && may_create_bus())
	{
		Interval	retention = {.day = 7};
		Interval	dedup_window = {.time = 5 * USECS_PER_MINUTE};

		eb_bus_create(name, &retention, NULL, &dedup_window, false, true);
		CommandCounterIncrement();
	}
	return eb_bus_lookup(name, false);
}
