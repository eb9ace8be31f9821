/*-------------------------------------------------------------------------
 *
 * once_process.c
 *	  process_once: let a consumer's effects happen once, in its own
 *	  transaction.
 *
 * The key is written in the caller's transaction, so it is remembered exactly
 * if what the caller did is.  For effects outside of the database see
 * once_lease.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "once/once_internal.h"

void
eb_once_call(FunctionCallInfo fcinfo, bool key_is_uuid, AclMode mode, EbOnceCall *call)
{
	char	   *name;

	if (PG_ARGISNULL(0))
		eb_error_null("consumer");
	if (PG_ARGISNULL(1))
		eb_error_null(key_is_uuid ? "event_id" : "key");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	call->set = *eb_once_lookup(EB_ONCE_CONSUMER, name, false);

	/* without its view nobody but the owner has a privilege on the consumer */
	if (OidIsValid(call->set.view))
		eb_check_view_privilege(call->set.view, mode, "consumer", name);
	else if (!has_privs_of_role(GetUserId(), eb_owner()))
		eb_error_missing("view", psprintf("consumer_%s", name), NULL);

	if (key_is_uuid)
	{
		call->key = *PG_GETARG_UUID_P(1);
		call->label = DatumGetCString(DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(1)));
		call->is_uuid = true;
	}
	else
	{
		text	   *key = PG_GETARG_TEXT_PP(1);
		pg_uuid_t	canonical;

		eb_once_key(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key), &call->key);
		call->label = text_to_cstring(key);
		call->is_uuid = false;
		if (VARSIZE_ANY_EXHDR(key) == 36)
		{
			canonical = call->key;
			call->is_uuid = pg_strcasecmp(DatumGetCString(DirectFunctionCall1(uuid_out,
																			  UUIDPGetDatum(&canonical))),
										  call->label) == 0;
		}
	}
}

static bool
process_once(FunctionCallInfo fcinfo, bool key_is_uuid)
{
	Datum		values[EB_PROCESSED_NATTS] = {0};
	bool		isnull[EB_PROCESSED_NATTS];
	EbOnceCall	call;
	EbOnceKeys *keys;
	bool		first;

	eb_once_call(fcinfo, key_is_uuid, EB_CONSUMER_PROCESS, &call);
	memset(isnull, true, sizeof(isnull));
	if (!call.is_uuid)
	{
		values[EB_PROCESSED_NAME - 1] = CStringGetTextDatum(call.label);
		isnull[EB_PROCESSED_NAME - 1] = false;
	}

	keys = eb_once_open(&call.set, "eb.process_once()");
	first = eb_once_claim(keys, &call.key, call.label, values, isnull);
	if (!first)
	{
		TupleTableSlot *found = eb_once_found(keys);

		/* under a lease and not completed: neither answer would be true */
		if (!found->tts_isnull[EB_PROCESSED_LEASE_UNTIL - 1])
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("key \"%s\" of consumer \"%s\" is being processed under a lease",
							call.label, call.set.name),
					 errhint("What was started with eb.begin_processing() is settled with eb.complete_processing() or eb.fail_processing().")));
		eb_once_count(&call.set, 1);
	}
	eb_once_close(keys);
	return first;
}

PG_FUNCTION_INFO_V1(eb_process_once);

Datum
eb_process_once(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(process_once(fcinfo, true));
}

PG_FUNCTION_INFO_V1(eb_process_once_key);

Datum
eb_process_once_key(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(process_once(fcinfo, false));
}

PG_FUNCTION_INFO_V1(eb_forget_key);

Datum
eb_forget_key(PG_FUNCTION_ARGS)
{
	EbOnceCall	call;
	EbOnceKeys *keys;
	bool		known;

	eb_once_call(fcinfo, false, EB_CONSUMER_FORGET, &call);
	keys = eb_once_open(&call.set, "eb.forget_key()");
	do
		known = eb_once_find(keys, &call.key, call.label);
	while (known && !eb_once_remove(keys));
	eb_once_close(keys);
	PG_RETURN_BOOL(known);
}
