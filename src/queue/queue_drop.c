/*-------------------------------------------------------------------------
 *
 * queue_drop.c
 *	  Dropping a queue: what stands in the way, what goes along.
 *
 * Configuration is locked first (eb_queue_to_change), then the queue's view
 * and table with AccessExclusiveLock, and only then do we look for what
 * refers to the queue: whoever adds a reference holds AccessShareLock on the
 * table until he commits (eb_queue_open).  A queue is locked before its
 * dead-letter queue, which is the order of those who bury letters; redrive
 * keeps to it, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "once/once.h"
#include "queue/queue_internal.h"
#include "worker/worker.h"

#define MAX_NAMED 10			/* references that an error lists */

/* Collects lines for a DETAIL. */
static void
add_reference(StringInfo detail, int *n, const char *line)
{
	if (++*n <= MAX_NAMED)
		appendStringInfo(detail, "%s%s", *n > 1 ? "\n" : "", line);
}

static void
finish_references(StringInfo detail, int n)
{
	if (n > MAX_NAMED)
		appendStringInfo(detail, "\nAnd %d more.", n - MAX_NAMED);
}

/* Refuse to drop what rules deliver to. */
static void
refuse_if_target(const char *name)
{
	EbConfigScan *scan = eb_config_open(EB_TARGETS, 0, NULL);
	TupleDesc	desc = eb_config_desc(scan);
	int			columns[5];
	static const char *const column_names[5] = {"bus", "rule", "name", "kind", "destination"};
	StringInfoData detail;
	HeapTuple	tuple;
	int			n = 0;

	for (int i = 0; i < 5; i++)
		columns[i] = get_attnum(TupleDescAttr(desc, 0)->attrelid, column_names[i]);
	initStringInfo(&detail);
	while ((tuple = eb_config_next(scan)) != NULL)
	{
		char	   *value[5];
		bool		isnull;

		for (int i = 0; i < 5; i++)
			value[i] = TextDatumGetCString(heap_getattr(tuple, columns[i], desc, &isnull));
		if (strcmp(value[3], "queue") == 0 && strcmp(value[4], name) == 0)
			add_reference(&detail, &n,
						  psprintf("Rule \"%s\" of bus \"%s\" delivers to it (target \"%s\").",
								   value[1], value[0], value[2]));
	}
	eb_config_close(scan);
	if (n == 0)
		return;
	finish_references(&detail, n);
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop queue \"%s\" because rules deliver to it", name),
			 errdetail("%s", detail.data),
			 errhint("Remove the targets with eb.remove_target() first.")));
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* How many other queues send their dead letters to name; lists them by name. */
static int
find_sources(const char *name, const char *except, StringInfo detail)
{
	EbConfigScan *scan = eb_config_open(EB_QUEUES, 0, NULL);
	HeapTuple	tuple;
	EbQueue		queue;
	List	   *names = NIL;
	ListCell   *lc;
	int			n = 0;

	while ((tuple = eb_config_next(scan)) != NULL)
	{
		eb_queue_from_row(&queue, tuple, eb_config_desc(scan));
		if (strcmp(queue.dead_letter_queue, name) == 0 &&
			strcmp(queue.name, except) != 0)
			names = lappend(names, pstrdup(queue.name));
	}
	eb_config_close(scan);
	list_sort(names, compare_names);
	foreach(lc, names)
		add_reference(detail, &n, psprintf("Queue \"%s\" sends its dead letters there.",
										   (char *) lfirst(lc)));
	finish_references(detail, n);
	return n;
}

static void
refuse_if_dead_letter_queue(const char *name)
{
	StringInfoData detail;

	initStringInfo(&detail);
	if (find_sources(name, name, &detail) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop queue \"%s\" because it is a dead-letter queue in use", name),
				 errdetail("%s", detail.data),
				 errhint("Give them another one, or none (''), with eb.update_queue(), or drop them first.")));
}

/* Any message at all; the caller has locked out everybody else. */
static bool
holds_messages(Oid relid)
{
	Relation	table = table_open(relid, NoLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(table, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	bool		found = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(table, NoLock);
	return found;
}

/*
 * Lock a queue against everybody; false if its table is gone.  The view
 * first: who sends by INSERT has locked that before the table.
 */
static bool
lock_for_drop(const EbQueue *queue)
{
	Relation	table;

	LockRelationOid(queue->view, AccessExclusiveLock);
	table = try_table_open(queue->table, AccessExclusiveLock);
	if (table == NULL)
		return false;
	table_close(table, NoLock);
	return true;
}

static void
drop_one(const EbQueue *queue)
{
	EbOwnerContext context;
	Oid			types[1] = {TEXTOID};
	Datum		values[1];

	values[0] = CStringGetTextDatum(queue->name);
	eb_owner_begin(&context);
	if (get_rel_name(queue->view) != NULL)
		eb_sql_execute("DROP VIEW eb.%s",
					   quote_identifier(psprintf("queue_%s", queue->name)));
	if (get_rel_name(queue->table) != NULL)
		eb_sql_execute("DROP TABLE eb.%s",
					   quote_identifier(psprintf("q_%s", queue->name)));
	(void) eb_sql_with_args("DELETE FROM eb.queues WHERE name = $1",
							1, types, values, NULL);
	eb_owner_end(&context);
	if (queue->fifo)
		eb_once_drop(EB_ONCE_QUEUE, queue->name);
}

/*
 * The dead-letter queue that create_queue made beside a queue goes with it,
 * unless it serves another queue, too, or holds letters that nobody allowed
 * to drop.
 */
static void
drop_own_dead_letter_queue(const EbQueue *queue, bool with_dead_letters)
{
	char		own[NAMEDATALEN];
	EbQueue		dlq;
	StringInfoData others;

	initStringInfo(&others);
	eb_queue_default_dlq(queue->name, own);
	if (strcmp(queue->dead_letter_queue, own) != 0 || !eb_queue_read(own, &dlq) ||
		!dlq.is_dlq || find_sources(own, queue->name, &others) > 0)
		return;
	if (get_rel_name(dlq.view) != NULL && !eb_view_allows(dlq.view, EB_QUEUE_ADMIN))
	{
		ereport(NOTICE,
				(errmsg("dead-letter queue \"%s\" stays", own),
				 errdetail("You may not drop it.")));
		return;
	}
	if (lock_for_drop(&dlq) && !with_dead_letters && holds_messages(dlq.table))
	{
		ereport(NOTICE,
				(errmsg("dead-letter queue \"%s\" stays", own),
				 errdetail("It holds dead letters."),
				 errhint("Redrive them to another queue, or drop it with eb.drop_queue(%s, with_dead_letters => true).",
						 quote_literal_cstr(own))));
		return;
	}
	refuse_if_target(own);
	drop_one(&dlq);
}

PG_FUNCTION_INFO_V1(eb_drop_queue);

Datum
eb_drop_queue(PG_FUNCTION_ARGS)
{
	char	   *name;
	bool		with_dead_letters;
	EbQueue		queue;

	if (PG_ARGISNULL(0))
		eb_error_null("name");
	if (PG_ARGISNULL(1))
		eb_error_null("with_dead_letters");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	with_dead_letters = PG_GETARG_BOOL(1);
	queue = eb_queue_to_change(name, "eb.drop_queue()");

	/* from here on nobody adds a reference: that takes a lock on the table */
	if (lock_for_drop(&queue) && queue.is_dlq && !with_dead_letters &&
		holds_messages(queue.table))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue \"%s\" holds dead letters", name),
				 errhint("Redrive or purge them first, or use eb.drop_queue(%s, with_dead_letters => true).",
						 quote_literal_cstr(name))));
	refuse_if_target(name);
	refuse_if_dead_letter_queue(name);
	drop_one(&queue);
	drop_own_dead_letter_queue(&queue, with_dead_letters);
	eb_worker_wake_at_commit();
	PG_RETURN_VOID();
}
