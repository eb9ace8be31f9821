/*-------------------------------------------------------------------------
 *
 * relwriter.c
 *	  Insert rows into one of our heap tables straight through table and
 *	  index access methods, without the executor.
 *
 * A put writes two or three relations; the executor's start-up for each
 * would cost more than the rows.  Slots are made once per call and position;
 * IndexInfos hold only what index_insert() reads of them, since building the
 * real ones copies predicate trees.
 *
 * A table that somebody gave a trigger, a constraint with an expression, a
 * generated column or an index that we do not know is written through
 * ExecSimpleRelationInsert(), as an apply worker does.  Whether a table is
 * plain is remembered by relation until its relcache entry is invalidated.
 *
 * Memory: the writer and its slots live in the caller's context.  What a flush
 * allocates (formed and toasted tuples) goes there as well for the first one,
 * which for most writers is the only one, and to a child that is reset then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_index.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "relwriter.h"

#define MAX_INDEXES 8

struct EbRelWriter
{
	Relation	rel;
	bool		close;			/* with the writer */
	EbIndexWanted wanted;
	void	   *arg;
	bool		direct;
	bool		append_only;
	int			nbuffered;
	int			nslots;
	TupleTableSlot *slots[EB_RELWRITER_ROWS];
	TupleDesc	desc;			/* of the slots from the second on */
	int			nindexes;
	Oid			index_oids[MAX_INDEXES];
	Relation	indexes[MAX_INDEXES];	/* NULL until needed */
	IndexInfo  *index_infos[MAX_INDEXES];
	int			nflushes;
	MemoryContext flush_context;	/* from the second flush on */
};

/* What is known of a table; an entry is dropped when the table changes. */
typedef struct PlainEntry
{
	Oid			relid;			/* hash key */
	bool		plain;
} PlainEntry;

static HTAB *plain_tables = NULL;

/* The last ones looked up, by oid. */
#define RECENT_TABLES	16
static PlainEntry recent[RECENT_TABLES];

static void
forget_plain(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	PlainEntry *entry;

	memset(recent, 0, sizeof(recent));
	if (relid != InvalidOid)
	{
		(void) hash_search(plain_tables, &relid, HASH_REMOVE, NULL);
		return;
	}
	hash_seq_init(&status, plain_tables);
	while ((entry = hash_seq_search(&status)) != NULL)
		(void) hash_search(plain_tables, &entry->relid, HASH_REMOVE, NULL);
}

/* Triggers on queue tables that watch for writes other than ours. */
static bool
is_our_trigger(const Trigger *trigger)
{
	char	   *function;

	if (get_func_namespace(trigger->tgfoid) != eb_schema_oid())
		return false;
	function = get_func_name(trigger->tgfoid);
	return function && strcmp(function, "queue_written") == 0;
}

/*
 * May rows be written directly?  Our own triggers, which direct
 * writes are meant to pass by, are no obstacle; NOT NULL on our columns is
 * neither, since we never write null there.
 */
static bool
look_at_table(Relation rel)
{
	TupleConstr *constr = rel->rd_att->constr;

	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		return false;
	if (constr && (constr->num_check > 0 || constr->has_generated_stored))
		return false;
	if (rel->trigdesc &&
		(rel->trigdesc->trig_insert_before_row ||
		 rel->trigdesc->trig_insert_after_row))
	{
		for (int i = 0; i < rel->trigdesc->numtriggers; i++)
		{
			if (!is_our_trigger(&rel->trigdesc->triggers[i]))
				return false;
		}
	}
	return true;
}

static bool
is_plain(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	PlainEntry *last = &recent[relid % RECENT_TABLES];
	PlainEntry *entry;
	bool		found;
	bool		plain;

	if (likely(last->relid == relid))
		return last->plain;
	if (unlikely(!plain_tables))
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(PlainEntry)};

		plain_tables = hash_create("pg_eventbus tables written directly", 64,
								   &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(forget_plain, (Datum) 0);
	}
	entry = hash_search(plain_tables, &relid, HASH_FIND, NULL);
	if (!entry)
	{
		plain = look_at_table(rel);
		entry = hash_search(plain_tables, &relid, HASH_ENTER, &found);
		entry->plain = plain;
	}
	*last = *entry;
	return entry->plain;
}

EbRelWriter *
eb_relwriter_open(Oid relid, EbIndexWanted wanted, void *arg)
{
	EbRelWriter *writer = eb_relwriter_begin(table_open(relid, RowExclusiveLock), wanted, arg);

	writer->close = true;
	return writer;
}

EbRelWriter *
eb_relwriter_begin(Relation rel, EbIndexWanted wanted, void *arg)
{
	EbRelWriter *writer = palloc(sizeof(EbRelWriter));
	List	   *indexes;
	ListCell   *lc;

	writer->rel = rel;
	writer->close = false;
	writer->wanted = wanted;
	writer->arg = arg;
	writer->direct = is_plain(writer->rel);
	writer->append_only = false;
	writer->nbuffered = 0;
	writer->nslots = 0;
	writer->desc = RelationGetDescr(writer->rel);
	writer->nindexes = 0;
	writer->nflushes = 0;
	writer->flush_context = NULL;

	indexes = RelationGetIndexList(writer->rel);
	if (list_length(indexes) > MAX_INDEXES)
		writer->direct = false;
	else
	{
		foreach(lc, indexes)
		{
			writer->index_oids[writer->nindexes] = lfirst_oid(lc);
			writer->indexes[writer->nindexes] = NULL;
			writer->index_infos[writer->nindexes] = NULL;
			writer->nindexes++;
		}
	}
	list_free(indexes);
	return writer;
}

Relation
eb_relwriter_relation(EbRelWriter *writer)
{
	return writer->rel;
}

void
eb_relwriter_append_only(EbRelWriter *writer)
{
	writer->append_only = true;
}

TupleTableSlot *
eb_relwriter_next(EbRelWriter *writer)
{
	TupleTableSlot *slot;

	if (writer->nbuffered == EB_RELWRITER_ROWS)
		(void) eb_relwriter_flush(writer);
	if (writer->nbuffered == writer->nslots)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(writer));

		/*
		 * Every slot of a relcache entry's descriptor is noted with the
		 * resource owner, which for 100 rows costs more than to copy it.
		 */
		if (writer->nslots == 1)
			writer->desc = CreateTupleDescCopy(RelationGetDescr(writer->rel));
		writer->slots[writer->nslots] =
			MakeSingleTupleTableSlot(writer->desc, &TTSOpsVirtual);
		writer->nslots++;
		MemoryContextSwitchTo(old);
	}
	slot = writer->slots[writer->nbuffered++];
	ExecClearTuple(slot);
	ExecStoreVirtualTuple(slot);
	return slot;
}

/* An IndexInfo with what index_insert() of btree and BRIN looks at. */
static IndexInfo *
bare_index_info(Relation index)
{
	IndexInfo  *info = makeNode(IndexInfo);

	info->ii_NumIndexAttrs = index->rd_index->indnatts;
	info->ii_NumIndexKeyAttrs = index->rd_index->indnkeyatts;
	for (int i = 0; i < info->ii_NumIndexAttrs; i++)
		info->ii_IndexAttrNumbers[i] = index->rd_index->indkey.values[i];
	info->ii_ReadyForInserts = index->rd_index->indisready;
	info->ii_Am = index->rd_rel->relam;
	info->ii_Context = CurrentMemoryContext;
	return info;
}

/* Without a callback only indexes whose entries need no thought are ours. */
static bool
is_plain_index(Relation index)
{
	if (index->rd_index->indisunique || index->rd_index->indisexclusion)
		return false;
	if (!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < index->rd_index->indnatts; i++)
	{
		if (index->rd_index->indkey.values[i] <= 0)
			return false;
	}
	return true;
}

static void
open_index(EbRelWriter *writer, int i)
{
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(writer));

	writer->indexes[i] = index_open(writer->index_oids[i], RowExclusiveLock);
	writer->index_infos[i] = bare_index_info(writer->indexes[i]);
	MemoryContextSwitchTo(old);
}

/* Does the table have an index that we cannot write?  Asked before writing. */
static bool
has_foreign_index(EbRelWriter *writer)
{
	for (int i = 0; i < writer->nindexes; i++)
	{
		if (writer->wanted)
		{
			if (writer->wanted(writer, writer->index_oids[i], 0, writer->arg) == EB_INDEX_FOREIGN)
				return true;
			continue;
		}
		if (!writer->indexes[i])
			open_index(writer, i);
		if (!is_plain_index(writer->indexes[i]))
			return true;
	}
	return false;
}

static void
insert_index_entries(EbRelWriter *writer, int i)
{
	IndexInfo  *info;

	for (int row = 0; row < writer->nbuffered; row++)
	{
		TupleTableSlot *slot = writer->slots[row];
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull[INDEX_MAX_KEYS];

		if (writer->wanted &&
			writer->wanted(writer, writer->index_oids[i], row, writer->arg) != EB_INDEX_INSERT)
			continue;
		if (!writer->indexes[i])
			open_index(writer, i);
		info = writer->index_infos[i];
		if (!info->ii_ReadyForInserts)
			continue;
		for (int k = 0; k < info->ii_NumIndexAttrs; k++)
		{
			int			att = info->ii_IndexAttrNumbers[k] - 1;

			values[k] = slot->tts_values[att];
			isnull[k] = slot->tts_isnull[att];
		}
		(void) index_insert(writer->indexes[i], values, isnull, &slot->tts_tid,
							writer->rel, UNIQUE_CHECK_NO, false, info);
	}
}

/* The executor's way, for tables to which somebody added something. */
static void
flush_through_executor(EbRelWriter *writer)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *info = makeNode(ResultRelInfo);

	estate->es_output_cid = GetCurrentCommandId(true);
	InitResultRelInfo(info, writer->rel, 0, NULL, 0);
	ExecOpenIndices(info, false);
	AfterTriggerBeginQuery();
	PushActiveSnapshot(GetLatestSnapshot());
	for (int row = 0; row < writer->nbuffered; row++)
	{
		TupleTableSlot *slot = writer->slots[row];

		ResetPerTupleExprContext(estate);
		slot->tts_tableOid = RelationGetRelid(writer->rel);
		ExecSimpleRelationInsert(info, estate, slot);
	}
	AfterTriggerEndQuery(estate);
	PopActiveSnapshot();
	ExecCloseIndices(info);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
}

int
eb_relwriter_flush(EbRelWriter *writer)
{
	int			n = writer->nbuffered;
	MemoryContext context = GetMemoryChunkContext(writer);
	MemoryContext old;

	if (n == 0)
		return 0;
	if (writer->nflushes++ > 0)
	{
		if (!writer->flush_context)
			writer->flush_context = AllocSetContextCreate(context,
														  "pg_eventbus rows being written",
														  ALLOCSET_DEFAULT_SIZES);
		context = writer->flush_context;
	}
	old = MemoryContextSwitchTo(context);
	if (writer->direct && has_foreign_index(writer))
		writer->direct = false;
	if (!writer->direct)
		flush_through_executor(writer);
	else
	{
		int			options = writer->append_only ? TABLE_INSERT_SKIP_FSM : 0;

		if (n == 1)
			table_tuple_insert(writer->rel, writer->slots[0],
							   GetCurrentCommandId(true), options, NULL);
		else
			table_multi_insert(writer->rel, writer->slots, n,
							   GetCurrentCommandId(true), options, NULL);
		for (int i = 0; i < writer->nindexes; i++)
			insert_index_entries(writer, i);
	}
	MemoryContextSwitchTo(old);
	if (writer->flush_context)
		MemoryContextReset(writer->flush_context);
	writer->nbuffered = 0;
	return n;
}

int
eb_relwriter_count(EbRelWriter *writer)
{
	return writer->nbuffered;
}

TupleTableSlot *
eb_relwriter_slot(EbRelWriter *writer, int row)
{
	return writer->slots[row];
}

ItemPointer
eb_relwriter_tid(EbRelWriter *writer, int row)
{
	return &writer->slots[row]->tts_tid;
}

void
eb_relwriter_close(EbRelWriter *writer)
{
	(void) eb_relwriter_flush(writer);
	for (int i = 0; i < writer->nindexes; i++)
	{
		if (writer->indexes[i])
		{
			index_insert_cleanup(writer->indexes[i], writer->index_infos[i]);
			index_close(writer->indexes[i], NoLock);
		}
	}
	for (int i = 0; i < writer->nslots; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	if (writer->close)
		table_close(writer->rel, NoLock);
	if (writer->flush_context)
		MemoryContextDelete(writer->flush_context);
	pfree(writer);
}
