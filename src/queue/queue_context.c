/*-------------------------------------------------------------------------
 *
 * queue_context.c
 *	  The message that this transaction is processing.
 *
 * Events that are put while a message is processed inherit its correlation
 * id and trace context and have its event as their cause.  A publisher looks
 * for each of the three first in the entry, then in the event's detail, then
 * here, and last in the settings eb.correlation_id, eb.causation_id and
 * eb.traceparent: what is known about this very event goes before what was
 * said for the session.
 *
 * The context is transactional, like SET LOCAL: it is gone at the end of the
 * transaction, and a subtransaction that aborts brings back what was set
 * before it.  Entries form a stack, at most one per open subtransaction, in
 * TopTransactionContext.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "compat.h"
#include "queue/queue_internal.h"

typedef struct ContextEntry
{
	EbMessageContext context;	/* its strings follow in the same chunk */
	SubTransactionId subid;
	struct ContextEntry *previous;
} ContextEntry;

static ContextEntry *current_entry = NULL;

static const EbMessageContext no_context;

const EbMessageContext *
eb_message_context(void)
{
	return current_entry ? &current_entry->context : &no_context;
}

static const char *
copy_string(char **place, const char *string)
{
	char	   *copy = *place;
	size_t		size;

	if (string == NULL)
		return NULL;
	size = strlen(string) + 1;
	memcpy(copy, string, size);
	*place += size;
	return copy;
}

static size_t
string_size(const char *string)
{
	return string ? strlen(string) + 1 : 0;
}

void
eb_message_context_set(const EbMessageContext *context)
{
	ContextEntry *entry;
	ContextEntry *old = current_entry;
	char	   *place;

	if (context == NULL)
		context = &no_context;
	entry = MemoryContextAlloc(TopTransactionContext,
							   sizeof(ContextEntry) +
							   string_size(context->correlation_id) +
							   string_size(context->causation_id) +
							   string_size(context->traceparent));
	place = (char *) (entry + 1);
	entry->context.correlation_id = copy_string(&place, context->correlation_id);
	entry->context.causation_id = copy_string(&place, context->causation_id);
	entry->context.traceparent = copy_string(&place, context->traceparent);
	entry->context.hops = context->hops;
	entry->subid = GetCurrentSubTransactionId();
	if (old != NULL && old->subid == entry->subid)
	{
		entry->previous = old->previous;
		pfree(old);
	}
	else
		entry->previous = old;
	current_entry = entry;
}

void
eb_message_context_at_xact_end(void)
{
	/* the memory goes with the transaction */
	current_entry = NULL;
}

void
eb_message_context_at_subxact(SubXactEvent event, SubTransactionId mine,
							  SubTransactionId parent)
{
	ContextEntry *entry = current_entry;

	if (entry == NULL || entry->subid != mine)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		current_entry = entry->previous;
		pfree(entry);
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		ContextEntry *previous = entry->previous;

		entry->subid = parent;
		if (previous != NULL && previous->subid == parent)
		{
			entry->previous = previous->previous;
			pfree(previous);
		}
	}
}

static char *
message_text(HeapTupleHeader message, const char *column)
{
	bool		isnull;
	Datum		value = GetAttributeByName(message, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * The event itself is the cause.  One that belongs to no correlation yet
 * begins one, under its own id, so that a chain can be followed from there.
 * How often an event was forwarded between buses is not part of a message, so
 * the loop guard begins anew; handlers, which the server runs by itself, set
 * it with eb_message_context_set().
 */
PG_FUNCTION_INFO_V1(eb_processing);

Datum
eb_processing(PG_FUNCTION_ARGS)
{
	EbMessageContext context = {0};
	HeapTupleHeader message;
	bool		isnull;
	Datum		event_id;

	if (PG_ARGISNULL(0))
	{
		eb_message_context_set(NULL);
		PG_RETURN_VOID();
	}
	message = PG_GETARG_HEAPTUPLEHEADER(0);
	event_id = GetAttributeByName(message, "event_id", &isnull);
	if (!isnull)
		context.causation_id = DatumGetCString(DirectFunctionCall1(uuid_out, event_id));
	context.correlation_id = message_text(message, "correlation_id");
	if (context.correlation_id == NULL)
		context.correlation_id = context.causation_id;
	context.traceparent = message_text(message, "traceparent");
	eb_message_context_set(&context);
	PG_RETURN_VOID();
}
