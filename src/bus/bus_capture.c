/*-------------------------------------------------------------------------
 *
 * bus_capture.c
 *	  eb.publish_row_changes(): a trigger that turns changes of any table into
 *	  events.
 *
 * FOR EACH ROW publishes one event as each row's trigger fires.  FOR EACH
 * STATEMENT with transition tables publishes all rows of the statement in one
 * go, which suits bulk changes; old and new rows of an UPDATE are stored in
 * the same order, so they pair up.  TRUNCATE gives one event without rows.
 *
 * The trigger runs as whoever changes the table, who need not know that there
 * is a bus; so it is the table's owner who must be allowed to publish.
 *
 * A trigger that a partition inherited speaks of the partitioned table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "bus/bus_internal.h"
#include "catalog.h"
#include "compat.h"

#define FUNCTION_NAME "eb.publish_row_changes"

typedef struct Capture
{
	TriggerData *trigger;
	Oid			table;			/* that events speak of */
	const char *schema_name;
	const char *table_name;
	const char *operation;
	const char *source;
	const char *detail_type;
	FmgrInfo	to_jsonb;		/* of the row type */
	EbPublish  *publish;
	EbPublishBus *bus;
} Capture;

static void
protocol_error(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("function \"%s\" %s", FUNCTION_NAME, message),
			 errhint("%s", hint)));
}

static void
check_call(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		protocol_error("must be called as a trigger",
					   "Use it with CREATE TRIGGER ... EXECUTE FUNCTION eb.publish_row_changes('bus').");
	if (!TRIGGER_FIRED_AFTER(trigger->tg_event))
		protocol_error("must be fired AFTER the change",
					   "Earlier triggers could still change the row, or skip it.");
	if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) &&
		!TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) &&
		((!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) && !trigger->tg_oldtable) ||
		 (!TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && !trigger->tg_newtable)))
		protocol_error("needs transition tables when fired FOR EACH STATEMENT",
					   "Write FOR EACH ROW, or REFERENCING with OLD TABLE and NEW TABLE as the operation has them.");
	if (trigger->tg_trigger->tgnargs > 3)
		protocol_error("takes at most three arguments",
					   "They are bus, source and the beginning of the detail type.");
}

static const char *
argument(const Trigger *trigger, int i, const char *otherwise)
{
	if (i < trigger->tgnargs && trigger->tgargs[i][0] != '\0')
		return trigger->tgargs[i];
	return otherwise;
}

static const char *
operation_name(TriggerEvent event, const char **verb)
{
	if (TRIGGER_FIRED_BY_INSERT(event))
	{
		*verb = "inserted";
		return "INSERT";
	}
	if (TRIGGER_FIRED_BY_UPDATE(event))
	{
		*verb = "updated";
		return "UPDATE";
	}
	if (TRIGGER_FIRED_BY_DELETE(event))
	{
		*verb = "deleted";
		return "DELETE";
	}
	*verb = "truncated";
	return "TRUNCATE";
}

/* The owner's privilege, not the current user's. */
static void
check_owner(const EbBus *bus, Oid table)
{
	Oid			owner;
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", table);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (pg_class_aclcheck(bus->view, owner, EB_BUS_PUBLISH) != ACLCHECK_OK)
	{
		const char *role = GetUserNameFromId(owner, false);

		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for bus \"%s\"", bus->name),
				 errdetail("Changes of table \"%s\" are published with the privileges of its owner, \"%s\".",
						   get_rel_name(table), role),
				 errhint("GRANT INSERT ON eb.%s TO %s is what it needs.",
						 quote_identifier(get_rel_name(bus->view)),
						 quote_identifier(role))));
	}
}

/* ---- the detail ---- */

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	pushJsonbValue(state, token, &value);
}

static void
push_member(JsonbParseState **state, const char *key, const char *text)
{
	push_text(state, WJB_KEY, key);
	push_text(state, WJB_VALUE, text);
}

static void
push_row(Capture *c, JsonbParseState **state, const char *key, HeapTuple tuple)
{
	Datum		row = heap_copy_tuple_as_datum(tuple,
											   RelationGetDescr(c->trigger->tg_relation));
	Jsonb	   *json = DatumGetJsonbP(FunctionCall1(&c->to_jsonb, row));
	JsonbValue	value;

	value.type = jbvBinary;
	value.val.binary.data = &json->root;
	value.val.binary.len = VARSIZE(json) - VARHDRSZ;
	push_text(state, WJB_KEY, key);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* Names of the columns whose values differ, byte by byte. */
static void
push_changed(Capture *c, JsonbParseState **state, HeapTuple old, HeapTuple new)
{
	TupleDesc	desc = RelationGetDescr(c->trigger->tg_relation);

	push_text(state, WJB_KEY, "changed");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		old_null;
		bool		new_null;
		Datum		old_value;
		Datum		new_value;

		if (att->attisdropped)
			continue;
		old_value = heap_getattr(old, i + 1, desc, &old_null);
		new_value = heap_getattr(new, i + 1, desc, &new_null);
		if (old_null != new_null ||
			(!old_null && !datum_image_eq(old_value, new_value,
										  att->attbyval, att->attlen)))
			push_text(state, WJB_ELEM, NameStr(att->attname));
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
publish_change(Capture *c, HeapTuple old, HeapTuple new)
{
	EbEvent    *event = eb_publish_next(c->publish);
	MemoryContext context = MemoryContextSwitchTo(eb_publish_context(c->publish));
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_member(&state, "schema", c->schema_name);
	push_member(&state, "table", c->table_name);
	push_member(&state, "operation", c->operation);
	if (old)
		push_row(c, &state, "old", old);
	if (new)
		push_row(c, &state, "new", new);
	if (old && new)
		push_changed(c, &state, old, new);
	event->detail = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	event->source = c->source;
	event->detail_type = c->detail_type;
	eb_event_check(event, 0, "source", "detail-type", "detail");
	MemoryContextSwitchTo(context);
	event->distinct = true;		/* a row may change to and fro */
	(void) eb_publish_add(c->publish, c->bus, event);
}

/* All rows of a statement, from its transition tables. */
static void
publish_statement(Capture *c)
{
	TupleDesc	desc = RelationGetDescr(c->trigger->tg_relation);
	Tuplestorestate *olds = c->trigger->tg_oldtable;
	Tuplestorestate *news = c->trigger->tg_newtable;
	TupleTableSlot *old_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	TupleTableSlot *new_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	bool		is_insert = TRIGGER_FIRED_BY_INSERT(c->trigger->tg_event);
	bool		is_delete = TRIGGER_FIRED_BY_DELETE(c->trigger->tg_event);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext,
													  "pg_eventbus captured row",
													  ALLOCSET_DEFAULT_SIZES);

	if (olds)
		tuplestore_rescan(olds);
	if (news)
		tuplestore_rescan(news);
	for (;;)
	{
		HeapTuple	old = NULL;
		HeapTuple	new = NULL;
		MemoryContext context;
		bool		should_free;

		CHECK_FOR_INTERRUPTS();
		if (!is_insert &&
			!tuplestore_gettupleslot(olds, true, false, old_slot))
			break;
		if (!is_delete &&
			!tuplestore_gettupleslot(news, true, false, new_slot))
			break;
		context = MemoryContextSwitchTo(row_context);
		if (!is_insert)
			old = ExecFetchSlotHeapTuple(old_slot, true, &should_free);
		if (!is_delete)
			new = ExecFetchSlotHeapTuple(new_slot, true, &should_free);
		publish_change(c, old, new);
		MemoryContextSwitchTo(context);
		MemoryContextReset(row_context);
	}
	ExecDropSingleTupleTableSlot(old_slot);
	ExecDropSingleTupleTableSlot(new_slot);
	MemoryContextDelete(row_context);
}

PG_FUNCTION_INFO_V1(eb_publish_row_changes);

Datum
eb_publish_row_changes(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation	rel;
	const char *bus_name;
	const char *verb;
	Capture		c;

	check_call(fcinfo);
	rel = trigger->tg_relation;
	memset(&c, 0, sizeof(c));
	c.trigger = trigger;
	c.table = trigger->tg_trigger->tgisclone ?
		llast_oid(get_partition_ancestors(RelationGetRelid(rel))) : RelationGetRelid(rel);
	c.schema_name = get_namespace_name(get_rel_namespace(c.table));
	c.table_name = get_rel_name(c.table);
	c.operation = operation_name(trigger->tg_event, &verb);
	bus_name = argument(trigger->tg_trigger, 0, EB_DEFAULT_BUS);
	c.source = argument(trigger->tg_trigger, 1,
						psprintf("%s.%s", c.schema_name, c.table_name));
	c.detail_type = psprintf("%s.%s", argument(trigger->tg_trigger, 2, c.table_name), verb);
	fmgr_info(F_TO_JSONB, &c.to_jsonb);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID,
											 list_make1(makeNullConst(RelationGetForm(rel)->reltype,
																	  -1, InvalidOid)),
											 InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
					   &c.to_jsonb);

	check_owner(eb_bus_use(bus_name), c.table);
	c.publish = eb_publish_begin(FUNCTION_NAME "()");
	c.bus = eb_publish_bus(c.publish, bus_name, false);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		publish_change(&c, NULL, NULL);
	else if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		publish_statement(&c);
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		publish_change(&c, NULL, trigger->tg_trigtuple);
	else
		publish_change(&c, trigger->tg_trigtuple, trigger->tg_newtuple);
	eb_publish_finish(c.publish);
	return PointerGetDatum(NULL);
}
