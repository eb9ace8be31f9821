/*-------------------------------------------------------------------------
 *
 * relwriter.h
 *	  Insert rows into one of our heap tables straight through table and
 *	  index access methods, without the executor.
 *
 * Opened once per call and relation; rows are buffered in slots and written
 * with table_multi_insert().  What the executor would have done beyond that
 * (constraints, foreign triggers, foreign indexes, generated columns) is
 * looked for once per relcache build; a table that has any of it is written
 * through the executor's own functions, row by row.
 *
 * The relation is locked RowExclusive to the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_RELWRITER_H
#define EB_RELWRITER_H

#include "executor/tuptable.h"
#include "utils/rel.h"

typedef struct EbRelWriter EbRelWriter;

/*
 * Does a row of this flush need an entry in an index?  Asked for each index
 * and row after the rows were written, so the callback may look at slots and
 * TIDs (eb_relwriter_slot, eb_relwriter_tid, eb_relwriter_count); and once,
 * with the TID still invalid, before, when only EB_INDEX_FOREIGN counts.  An index is
 * opened (and locked) only when the answer was EB_INDEX_INSERT for the first
 * time, so a put does not lock the indexes that it has nothing for.
 * EB_INDEX_FOREIGN, for an index that the callback does not know: the table
 * is written through the executor from then on, which knows predicates and
 * uniqueness.  NULL in place of the callback: all rows in all plain indexes.
 */
typedef enum EbIndexAction
{
	EB_INDEX_SKIP,
	EB_INDEX_INSERT,
	EB_INDEX_FOREIGN
} EbIndexAction;

typedef EbIndexAction (*EbIndexWanted) (EbRelWriter *writer, Oid index, int row,
										void *arg);

extern EbRelWriter *eb_relwriter_open(Oid relid, EbIndexWanted wanted, void *arg);

/* The same on a relation that the caller has locked, and closes after the writer. */
extern EbRelWriter *eb_relwriter_begin(Relation rel, EbIndexWanted wanted, void *arg);
extern Relation eb_relwriter_relation(EbRelWriter *writer);

/*
 * Write to the page that this backend wrote last, or else to the table's end,
 * never into free space before it.  A table that is not written directly is
 * written anywhere.
 */
extern void eb_relwriter_append_only(EbRelWriter *writer);

/*
 * An empty slot for the next row: fill tts_values and tts_isnull (all of
 * them), nothing else.  Values may point to memory that lives until the next
 * flush.  Flushes by itself when the buffer is full.
 */
extern TupleTableSlot *eb_relwriter_next(EbRelWriter *writer);

/*
 * Write what is buffered.  After it, and until the next eb_relwriter_next,
 * eb_relwriter_tid(i) tells where row i of this flush went.
 */
extern int	eb_relwriter_flush(EbRelWriter *writer);
extern int	eb_relwriter_count(EbRelWriter *writer);
extern TupleTableSlot *eb_relwriter_slot(EbRelWriter *writer, int row);
extern ItemPointer eb_relwriter_tid(EbRelWriter *writer, int row);
extern void eb_relwriter_close(EbRelWriter *writer);

#define EB_RELWRITER_ROWS 256	/* rows that a writer buffers at most */

#endif							/* EB_RELWRITER_H */
