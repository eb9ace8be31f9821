/*-------------------------------------------------------------------------
 *
 * log_columns.h
 *	  Columns of eb.events, found by name.
 *
 * An older dump restores an older table, and ADD COLUMN puts new columns
 * last, so positions are looked up; a freshly made table passes with one
 * comparison a column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_LOG_COLUMNS_H
#define EB_LOG_COLUMNS_H

#include "access/tupdesc.h"

typedef enum EbEventColumn
{
	EVENT_ID,
	EVENT_INGESTED_AT,
	EVENT_TIME,
	EVENT_RULESET_VERSION,
	EVENT_BUS_ID,
	EVENT_RETENTION,
	EVENT_HOPS,
	EVENT_SOURCE,
	EVENT_DETAIL_TYPE,
	EVENT_RESOURCES,
	EVENT_GROUP_KEY,
	EVENT_CORRELATION_ID,
	EVENT_CAUSATION_ID,
	EVENT_TRACEPARENT,
	EVENT_REPLAY,
	EVENT_HEADERS,
	EVENT_DETAIL,
	EVENT_COLUMNS
} EbEventColumn;

/* attnos[column] is the column's index in the tuple's arrays (from 0). */
extern void eb_log_columns(TupleDesc desc, int attnos[EVENT_COLUMNS]);

#endif							/* EB_LOG_COLUMNS_H */
