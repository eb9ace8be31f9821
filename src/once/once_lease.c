/*-------------------------------------------------------------------------
 *
 * once_lease.c
 *	  Processing with effects outside of the database: leases and results.
 *
 * A row of the key is one of
 *
 *	 in progress	lease_until is set: its holder knows the token
 *	 failed			lease_until is -infinity: anybody may start again
 *	 completed		lease_until is null: the result is kept
 *
 * (a row by process_once has no token and counts as completed).  Every lease
 * gets a token made from the clock, and larger than the key's last one, so an
 * outside system can tell an older holder from a newer one by them.  Only
 * the token of the newest lease settles it: a holder who lost his lease to
 * somebody else can do no harm here.
 *
 * A row lives for the time to live of its consumer from its last change on,
 * and at least as long as its lease.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/pg_prng.h"
#include "common/sha2.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "compat.h"
#include "errors.h"
#include "once/once_internal.h"

/* Columns of begin_processing's result. */
enum
{
	OUT_STATE,
	OUT_TOKEN,
	OUT_ATTEMPT,
	OUT_LEASE_UNTIL,
	OUT_RESULT,
	OUT_LAST_ERROR,
	OUT_COLUMNS
};

/* Hash of what a payload says, in hexadecimal digits. */
static char *
hash_of_payload(Jsonb *payload)
{
	char	   *text = JsonbToCString(NULL, &payload->root, VARSIZE_ANY_EXHDR(payload));
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char	   *hex = palloc(2 * PG_SHA256_DIGEST_LENGTH + 1);

	if (pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) text, strlen(text)) < 0 ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute the hash of a payload: %s",
			 pg_cryptohash_error(hash));
	pg_cryptohash_free(hash);
	hex_encode((const char *) digest, PG_SHA256_DIGEST_LENGTH, hex);
	hex[2 * PG_SHA256_DIGEST_LENGTH] = '\0';
	return hex;
}

static int64
lease_argument(FunctionCallInfo fcinfo, int arg, const EbOnceCall *call)
{
	Interval   *lease;
	int64		microseconds;

	if (PG_ARGISNULL(arg))
		eb_error_null("lease");
	lease = PG_GETARG_INTERVAL_P(arg);
	if (!eb_once_microseconds(lease, &microseconds) ||
		microseconds < 1000 || microseconds > call->set.reach)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lease \"%s\" on key \"%s\" of consumer \"%s\" is out of range",
						DatumGetCString(DirectFunctionCall1(interval_out,
															IntervalPGetDatum(lease))),
						call->label, call->set.name),
				 errdetail("It must be between 1 millisecond and the consumer's time to live, or 1 hour if that is longer.")));
	return microseconds;
}

/* Values of a row, as the functions below make and change it. */
typedef struct Row
{
	Datum		values[EB_PROCESSED_NATTS];
	bool		isnull[EB_PROCESSED_NATTS];
} Row;

static void
row_set(Row *row, AttrNumber attno, Datum value)
{
	row->values[attno - 1] = value;
	row->isnull[attno - 1] = false;
}

static void
row_clear(Row *row, AttrNumber attno)
{
	row->values[attno - 1] = (Datum) 0;
	row->isnull[attno - 1] = true;
}

static bool
row_is_null(const Row *row, AttrNumber attno)
{
	return row->isnull[attno - 1];
}

static char *
row_text(const Row *row, AttrNumber attno)
{
	return TextDatumGetCString(row->values[attno - 1]);
}

/* The found row; what it points to stays until the keys are closed. */
static void
row_found(EbOnceKeys *keys, Row *row)
{
	TupleTableSlot *slot = eb_once_found(keys);

	memcpy(row->values, slot->tts_values, sizeof(row->values));
	memcpy(row->isnull, slot->tts_isnull, sizeof(row->isnull));
}

/* ------------------------------------------------------------------ */
/* begin_processing                                                   */
/* ------------------------------------------------------------------ */

/* NULL: the caller does not say what he is about to process. */
static char *
payload_argument(FunctionCallInfo fcinfo, const EbOnceCall *call)
{
	if (!PG_ARGISNULL(3) && !PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payload_hash and payload cannot both be given for key \"%s\" of consumer \"%s\"",
						call->label, call->set.name)));
	if (!PG_ARGISNULL(3))
		return text_to_cstring(PG_GETARG_TEXT_PP(3));
	if (!PG_ARGISNULL(4))
		return hash_of_payload(PG_GETARG_JSONB_P(4));
	return NULL;
}

static void
check_payload(const Row *row, const char *hash, const EbOnceCall *call)
{
	if (hash == NULL || row_is_null(row, EB_PROCESSED_PAYLOAD_HASH) ||
		strcmp(row_text(row, EB_PROCESSED_PAYLOAD_HASH), hash) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("key \"%s\" of consumer \"%s\" was used with another payload",
					call->label, call->set.name),
			 errdetail("The hash of its payload is \"%s\", that of this one is \"%s\".",
					   row_text(row, EB_PROCESSED_PAYLOAD_HASH), hash),
			 errhint("One key stands for one request: use a new key for a new request.")));
}

/* Is the key free for the caller to start? */
static bool
may_start(EbOnceKeys *keys, const Row *row)
{
	return !row_is_null(row, EB_PROCESSED_LEASE_UNTIL) &&
		DatumGetTimestampTz(row->values[EB_PROCESSED_LEASE_UNTIL - 1]) <= eb_once_now(keys);
}

/*
 * The clock's tick with random low bits, so that a key that was forgotten and
 * started anew has another token than before.
 */
static int64
new_token(EbOnceKeys *keys, const Row *row)
{
	int64		token = (int64) eb_time_tick(eb_once_now(keys)) |
		(int64) (pg_prng_uint64(&pg_global_prng_state) & ((1 << EB_TICK_SHIFT) - 1));

	if (!row_is_null(row, EB_PROCESSED_TOKEN))
		token = Max(token, DatumGetInt64(row->values[EB_PROCESSED_TOKEN - 1]) + 1);
	return token;
}

/* Put a lease into a row: a new one, or one that was found. */
static void
set_lease(EbOnceKeys *keys, Row *row, int64 lease, const char *hash)
{
	int			attempts = row_is_null(row, EB_PROCESSED_ATTEMPTS) ? 0 :
		DatumGetInt32(row->values[EB_PROCESSED_ATTEMPTS - 1]);

	row_set(row, EB_PROCESSED_TOKEN, Int64GetDatum(new_token(keys, row)));
	row_set(row, EB_PROCESSED_ATTEMPTS, Int32GetDatum(attempts + 1));
	row_set(row, EB_PROCESSED_LEASE_UNTIL, TimestampTzGetDatum(eb_once_now(keys) + lease));
	if (hash)
		row_set(row, EB_PROCESSED_PAYLOAD_HASH, CStringGetTextDatum(hash));
}

/* What the caller is told of the row that there is now. */
static Datum
answer(FunctionCallInfo fcinfo, const char *state, const Row *row)
{
	TupleDesc	desc;
	Datum		values[OUT_COLUMNS] = {0};
	bool		isnull[OUT_COLUMNS];
	bool		started = strcmp(state, "started") == 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(isnull, true, sizeof(isnull));
	values[OUT_STATE] = CStringGetTextDatum(state);
	isnull[OUT_STATE] = false;

#define COPY(column, attno) \
	(values[column] = row->values[(attno) - 1], isnull[column] = row->isnull[(attno) - 1])
	/* the token is its holder's alone */
	if (started)
		COPY(OUT_TOKEN, EB_PROCESSED_TOKEN);
	COPY(OUT_ATTEMPT, EB_PROCESSED_ATTEMPTS);
	COPY(OUT_LEASE_UNTIL, EB_PROCESSED_LEASE_UNTIL);
	COPY(OUT_RESULT, EB_PROCESSED_RESULT);
	COPY(OUT_LAST_ERROR, EB_PROCESSED_LAST_ERROR);
#undef COPY
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull));
}

PG_FUNCTION_INFO_V1(eb_begin_processing);

Datum
eb_begin_processing(PG_FUNCTION_ARGS)
{
	EbOnceCall	call;
	EbOnceKeys *keys;
	int64		lease;
	int64		lifetime;
	char	   *hash;
	const char *state;
	Datum		result;
	Row			row = {0};

	eb_once_call(fcinfo, false, EB_CONSUMER_PROCESS, &call);
	lease = lease_argument(fcinfo, 2, &call);
	lifetime = Max(call.set.ttl, lease);
	hash = payload_argument(fcinfo, &call);

	keys = eb_once_open(&call.set, "eb.begin_processing()");
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!eb_once_find(keys, &call.key, call.label))
		{
			memset(row.isnull, true, sizeof(row.isnull));
			if (!call.is_uuid)
				row_set(&row, EB_PROCESSED_NAME, CStringGetTextDatum(call.label));
			set_lease(keys, &row, lease, hash);
			if (eb_once_insert(keys, &call.key, lifetime, row.values, row.isnull))
			{
				state = "started";
				break;
			}
			continue;
		}
		row_found(keys, &row);
		check_payload(&row, hash, &call);
		if (row_is_null(&row, EB_PROCESSED_LEASE_UNTIL))
		{
			eb_once_count(&call.set, 1);
			state = "completed";
			break;
		}
		if (!may_start(keys, &row))
		{
			state = "in_progress";
			break;
		}
		set_lease(keys, &row, lease, hash);
		if (eb_once_replace(keys, lifetime, row.values, row.isnull))
		{
			state = "started";
			break;
		}
	}
	result = answer(fcinfo, state, &row);
	eb_once_close(keys);
	PG_RETURN_DATUM(result);
}

/* ------------------------------------------------------------------ */
/* complete, fail, extend                                             */
/* ------------------------------------------------------------------ */

/*
 * Does the caller hold the newest lease?  Without a token he must have been
 * the only one who ever held it.  Raises if not.
 */
static void
check_holder(const Row *row, const EbOnceCall *call, bool has_token, int64 token)
{
	int			attempts;

	if (row_is_null(row, EB_PROCESSED_TOKEN))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("key \"%s\" of consumer \"%s\" is not under a lease",
						call->label, call->set.name),
				 errdetail("It was processed with eb.process_once().")));
	attempts = DatumGetInt32(row->values[EB_PROCESSED_ATTEMPTS - 1]);
	if (has_token ? token == DatumGetInt64(row->values[EB_PROCESSED_TOKEN - 1]) : attempts == 1)
		return;
	if (!has_token)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("key \"%s\" of consumer \"%s\" was started %d times",
						call->label, call->set.name, attempts),
				 errhint("Pass the token that eb.begin_processing() returned, to show whose attempt this is.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("lease on key \"%s\" of consumer \"%s\" was lost",
					call->label, call->set.name),
			 errdetail("Token " INT64_FORMAT " is not that of the newest attempt, number %d.",
					   token, attempts),
			 errhint("The lease had ended and somebody else took over: undo what was done, or leave it to the newer attempt.")));
}

/*
 * The row that the caller is to settle, whose lease he holds.  False: it is
 * completed already, by him.
 */
static bool
find_own(EbOnceKeys *keys, const EbOnceCall *call, bool has_token, int64 token,
		 Row *row)
{
	if (!eb_once_find(keys, &call->key, call->label))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("key \"%s\" of consumer \"%s\" is not being processed",
						call->label, call->set.name),
				 errhint("Start with eb.begin_processing(); what it remembers is kept for the consumer's time to live.")));
	row_found(keys, row);
	check_holder(row, call, has_token, token);
	return !row_is_null(row, EB_PROCESSED_LEASE_UNTIL);
}

pg_noreturn static void
refuse_completed(const EbOnceCall *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("key \"%s\" of consumer \"%s\" is completed",
					call->label, call->set.name)));
}

PG_FUNCTION_INFO_V1(eb_complete_processing);

Datum
eb_complete_processing(PG_FUNCTION_ARGS)
{
	EbOnceCall	call;
	EbOnceKeys *keys;
	Row			row;

	eb_once_call(fcinfo, false, EB_CONSUMER_PROCESS, &call);
	keys = eb_once_open(&call.set, "eb.complete_processing()");

	/* completing once more is what a caller does who did not get the answer */
	while (find_own(keys, &call, !PG_ARGISNULL(3), PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3), &row))
	{
		row_clear(&row, EB_PROCESSED_LEASE_UNTIL);
		row_clear(&row, EB_PROCESSED_LAST_ERROR);
		if (!PG_ARGISNULL(2))
			row_set(&row, EB_PROCESSED_RESULT, PG_GETARG_DATUM(2));
		if (eb_once_replace(keys, call.set.ttl, row.values, row.isnull))
			break;
	}
	eb_once_close(keys);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(eb_fail_processing);

Datum
eb_fail_processing(PG_FUNCTION_ARGS)
{
	EbOnceCall	call;
	EbOnceKeys *keys;
	Row			row;

	eb_once_call(fcinfo, false, EB_CONSUMER_PROCESS, &call);
	keys = eb_once_open(&call.set, "eb.fail_processing()");
	do
	{
		if (!find_own(keys, &call, !PG_ARGISNULL(3), PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3), &row))
			refuse_completed(&call);
		row_set(&row, EB_PROCESSED_LEASE_UNTIL, TimestampTzGetDatum(DT_NOBEGIN));
		if (PG_ARGISNULL(2))
			row_clear(&row, EB_PROCESSED_LAST_ERROR);
		else
			row_set(&row, EB_PROCESSED_LAST_ERROR, PG_GETARG_DATUM(2));
	} while (!eb_once_replace(keys, call.set.ttl, row.values, row.isnull));
	eb_once_close(keys);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(eb_extend_processing);

Datum
eb_extend_processing(PG_FUNCTION_ARGS)
{
	EbOnceCall	call;
	EbOnceKeys *keys;
	int64		lease;
	TimestampTz lease_until;
	Row			row;

	eb_once_call(fcinfo, false, EB_CONSUMER_PROCESS, &call);
	lease = lease_argument(fcinfo, 2, &call);
	keys = eb_once_open(&call.set, "eb.extend_processing()");
	do
	{
		if (!find_own(keys, &call, !PG_ARGISNULL(3), PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3), &row))
			refuse_completed(&call);
		lease_until = eb_once_now(keys) + lease;
		row_set(&row, EB_PROCESSED_LEASE_UNTIL, TimestampTzGetDatum(lease_until));
	} while (!eb_once_replace(keys, Max(call.set.ttl, lease), row.values, row.isnull));
	eb_once_close(keys);
	PG_RETURN_TIMESTAMPTZ(lease_until);
}
