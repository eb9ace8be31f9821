/*-------------------------------------------------------------------------
 *
 * bus_assemble.c
 *	  Applies a compiled input transformation to an event.
 *
 * The variables that the skeleton uses are looked up once each.  Then the
 * result is written front to back as jsonb's own bytes: literal parts and
 * the values of variables are copied as they are (containers within a jsonb
 * are relocatable, given their alignment), and objects have their keys in
 * jsonb's order from the compilation.  No JSON text is made or parsed, so
 * there is nothing to escape and the result is valid whatever the values are;
 * values inside of a string become that string's characters.
 *
 * The layout of a container follows utils/jsonb.h: header, one JEntry for
 * each element (of objects: all keys, then all values), then their bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "bus/bus_transform.h"
#include "eb.h"

typedef struct Assembly
{
	const char *block;
	const EbTransformHead *head;
	StringInfoData out;
	Size		limit;
	JsonbValue *values;			/* of the variables */
	bool	   *missing;
} Assembly;

#define NODE(assembly, at) ((const EbTransformNode *) ((assembly)->block + (at)))
#define CHILDREN(node, type) ((const type *) ((node) + 1))

static JEntry append_node(Assembly *assembly, uint32 at);

static void
append_bytes(Assembly *assembly, const void *data, Size size)
{
	if (assembly->out.len + size > assembly->limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("transformed input is larger than %zu bytes", assembly->limit),
				 errdetail("The limit is %d times eb.max_entry_size.", EB_TRANSFORM_MAX_GROWTH)));
	if (size > 0)
		appendBinaryStringInfo(&assembly->out, data, size);
}

static void
append_padding(Assembly *assembly)
{
	static const char zeros[sizeof(int)] = {0};

	append_bytes(assembly, zeros, INTALIGN(assembly->out.len) - assembly->out.len);
}

/* Numbers and containers are aligned; the padding counts as theirs. */
static JEntry
append_literal(Assembly *assembly, JEntry type, const void *data, Size size)
{
	int			start = assembly->out.len;

	if (type == JENTRY_ISNUMERIC || type == JENTRY_ISCONTAINER)
		append_padding(assembly);
	append_bytes(assembly, data, size);
	return type | (assembly->out.len - start);
}

static JEntry
append_value(Assembly *assembly, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return JENTRY_ISNULL;
		case jbvBool:
			return value->val.boolean ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE;
		case jbvString:
			return append_literal(assembly, JENTRY_ISSTRING,
								  value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return append_literal(assembly, JENTRY_ISNUMERIC,
								  value->val.numeric, VARSIZE_ANY(value->val.numeric));
		case jbvBinary:
			return append_literal(assembly, JENTRY_ISCONTAINER,
								  value->val.binary.data, value->val.binary.len);
		default:
			elog(ERROR, "unexpected type %d of a variable", (int) value->type);
	}
	pg_unreachable();
}

/* A value as the characters of a string. */
static void
append_value_text(Assembly *assembly, const JsonbValue *value)
{
	StringInfoData text;
	char	   *digits;

	switch (value->type)
	{
		case jbvNull:
			append_bytes(assembly, "null", 4);
			break;
		case jbvBool:
			append_bytes(assembly, value->val.boolean ? "true" : "false",
						 value->val.boolean ? 4 : 5);
			break;
		case jbvString:
			append_bytes(assembly, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			digits = DatumGetCString(DirectFunctionCall1(numeric_out,
														 NumericGetDatum(value->val.numeric)));
			append_bytes(assembly, digits, strlen(digits));
			break;
		default:
			initStringInfo(&text);
			JsonbToCString(&text, value->val.binary.data, value->val.binary.len);
			append_bytes(assembly, text.data, text.len);
			pfree(text.data);
			break;
	}
}

static JEntry
append_text(Assembly *assembly, const EbTransformNode *node)
{
	int			start = assembly->out.len;
	const uint32 *pieces = CHILDREN(node, uint32);

	for (uint32 i = 0; i < node->count; i++)
	{
		const EbTransformNode *piece = NODE(assembly, pieces[i]);

		if (piece->kind == EB_TEMPLATE_LITERAL)
			append_bytes(assembly, piece + 1, piece->count);
		else if (!assembly->missing[piece->count] ||
				 assembly->head->on_missing != EB_MISSING_OMIT)
			append_value_text(assembly, &assembly->values[piece->count]);
	}
	return JENTRY_ISSTRING | (assembly->out.len - start);
}

static bool
is_omitted(const Assembly *assembly, uint32 at)
{
	const EbTransformNode *node = NODE(assembly, at);

	return assembly->head->on_missing == EB_MISSING_OMIT &&
		node->kind == EB_TEMPLATE_VARIABLE && assembly->missing[node->count];
}

/* A container while its entries are written. */
typedef struct Entries
{
	int			start;			/* of the container with its padding */
	int			at;				/* where the next JEntry goes */
	uint32		index;
	Size		total;
} Entries;

static Entries
begin_container(Assembly *assembly, uint32 header, Size nentries)
{
	Entries		entries = {assembly->out.len};
	Size		size = nentries * sizeof(JEntry);

	append_padding(assembly);
	append_bytes(assembly, &header, sizeof(header));
	entries.at = assembly->out.len;
	if (assembly->out.len + size > assembly->limit)
		append_bytes(assembly, NULL, size); /* raises */
	enlargeStringInfo(&assembly->out, size);
	assembly->out.len += size;
	return entries;
}

/* As jsonb has it, every JB_OFFSET_STRIDE'th entry holds an offset, others a length. */
static void
put_entry(Assembly *assembly, Entries *entries, JEntry entry)
{
	entries->total += entry & JENTRY_OFFLENMASK;
	if (entries->index % JB_OFFSET_STRIDE == 0)
		entry = (entry & JENTRY_TYPEMASK) | (JEntry) entries->total | JENTRY_HAS_OFF;
	memcpy(assembly->out.data + entries->at, &entry, sizeof(entry));
	entries->at += sizeof(entry);
	entries->index++;
}

static JEntry
append_array(Assembly *assembly, const EbTransformNode *node)
{
	const uint32 *items = CHILDREN(node, uint32);
	uint32		present = 0;
	Entries		entries;

	for (uint32 i = 0; i < node->count; i++)
		present += !is_omitted(assembly, items[i]);
	entries = begin_container(assembly, JB_FARRAY | present, present);
	for (uint32 i = 0; i < node->count; i++)
		if (!is_omitted(assembly, items[i]))
			put_entry(assembly, &entries, append_node(assembly, items[i]));
	return JENTRY_ISCONTAINER | (assembly->out.len - entries.start);
}

static JEntry
append_object(Assembly *assembly, const EbTransformNode *node)
{
	const EbTransformField *fields = CHILDREN(node, EbTransformField);
	uint32		present = 0;
	Entries		entries;

	for (uint32 i = 0; i < node->count; i++)
		present += !is_omitted(assembly, fields[i].value);
	entries = begin_container(assembly, JB_FOBJECT | present, 2 * (Size) present);
	for (uint32 i = 0; i < node->count; i++)
		if (!is_omitted(assembly, fields[i].value))
			put_entry(assembly, &entries,
					  append_literal(assembly, JENTRY_ISSTRING,
									 assembly->block + fields[i].key, fields[i].key_len));
	for (uint32 i = 0; i < node->count; i++)
		if (!is_omitted(assembly, fields[i].value))
			put_entry(assembly, &entries, append_node(assembly, fields[i].value));
	return JENTRY_ISCONTAINER | (assembly->out.len - entries.start);
}

static JEntry
append_node(Assembly *assembly, uint32 at)
{
	const EbTransformNode *node = NODE(assembly, at);

	check_stack_depth();

	switch ((EbTemplateKind) node->kind)
	{
		case EB_TEMPLATE_LITERAL:
			return append_literal(assembly, node->type, node + 1, node->count);
		case EB_TEMPLATE_VARIABLE:
			return append_value(assembly, &assembly->values[node->count]);
		case EB_TEMPLATE_TEXT:
			return append_text(assembly, node);
		case EB_TEMPLATE_ARRAY:
			return append_array(assembly, node);
		case EB_TEMPLATE_OBJECT:
			return append_object(assembly, node);
	}
	elog(ERROR, "input transformation is damaged");
}

/* Walk a path; false if there is nothing. */
static bool
walk_path(const char *block, const EbTransformVariable *variable, Jsonb *envelope, JsonbValue *value)
{
	const EbTransformStep *steps = (const EbTransformStep *) (block + variable->steps);

	value->type = jbvBinary;
	value->val.binary.data = &envelope->root;
	value->val.binary.len = VARSIZE(envelope) - VARHDRSZ;
	for (uint32 i = 0; i < variable->nsteps; i++)
	{
		JsonbContainer *container;

		if (value->type != jbvBinary)
			return false;
		container = value->val.binary.data;
		if (steps[i].key != 0)
		{
			if (!JsonContainerIsObject(container) ||
				getKeyJsonValueFromContainer(container, block + steps[i].key,
											 steps[i].key_len, value) == NULL)
				return false;
		}
		else
		{
			JsonbValue *element = NULL;

			if (JsonContainerIsArray(container))
				element = getIthJsonbValueFromContainer(container, steps[i].key_len);
			if (element == NULL)
				return false;
			*value = *element;
		}
	}
	return true;
}

/* The envelope without its detail. */
static void
envelope_head(Jsonb *envelope, JsonbValue *value)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = JsonbIteratorInit(&envelope->root);
	JsonbIteratorToken token;
	JsonbValue	part;
	JsonbValue *pushed = NULL;
	bool		skip = false;
	Jsonb	   *head;

	while ((token = JsonbIteratorNext(&it, &part, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			skip = part.val.string.len == 6 && memcmp(part.val.string.val, "detail", 6) == 0;
		if (skip && (token == WJB_KEY || token == WJB_VALUE))
			continue;
		pushed = pushJsonbValue(&state, token,
								token == WJB_KEY || token == WJB_VALUE ? &part : NULL);
	}
	head = JsonbValueToJsonb(pushed);
	value->type = jbvBinary;
	value->val.binary.data = &head->root;
	value->val.binary.len = VARSIZE(head) - VARHDRSZ;
}

static void
set_string(JsonbValue *value, char *string)
{
	value->type = jbvString;
	value->val.string.val = string;
	value->val.string.len = strlen(string);
}

/* As EventBridge writes it: the default bus goes without its name. */
static char *
rule_arn(const EbTransformVars *vars)
{
	bool		is_default = strcmp(vars->bus_name, "default") == 0;

	return psprintf("arn:aws:events:%s:%s:rule/%s%s%s", eb_region, eb_account,
					is_default ? "" : vars->bus_name, is_default ? "" : "/", vars->rule_name);
}

static void
missing_path(const char *path, const EbTransformVars *vars)
{
	ereport(ERROR,
			(errcode(ERRCODE_SQL_JSON_MEMBER_NOT_FOUND),
			 errmsg("event has no value at \"%s\"", path),
			 errdetail("A target of rule \"%s\" on bus \"%s\" needs it.",
					   vars->rule_name, vars->bus_name),
			 errhint("With on_missing set to null or omit the target does without.")));
}

/* Variables that are no path always have a value. */
static void
resolve_reserved(EbTransformSource source, Jsonb *envelope, const EbTransformVars *vars,
				 JsonbValue *value)
{
	char		time[EB_TIME_LENGTH];

	switch (source)
	{
		case FROM_PATH:
			Assert(false);
			break;
		case FROM_RULE_NAME:
			set_string(value, pstrdup(vars->rule_name));
			break;
		case FROM_RULE_ARN:
			set_string(value, rule_arn(vars));
			break;
		case FROM_BUS_NAME:
			set_string(value, pstrdup(vars->bus_name));
			break;
		case FROM_EVENT:
			envelope_head(envelope, value);
			break;
		case FROM_EVENT_JSON:
			value->type = jbvBinary;
			value->val.binary.data = &envelope->root;
			value->val.binary.len = VARSIZE(envelope) - VARHDRSZ;
			break;
		case FROM_INGESTION_TIME:
			eb_format_time(vars->ingestion_time, time);
			set_string(value, pstrdup(time));
			break;
	}
}

static const EbTransformVariable *
variables_of(const Assembly *assembly)
{
	return (const EbTransformVariable *) (assembly->block + assembly->head->variables);
}

static void
resolve(Assembly *assembly, Jsonb *envelope, const EbTransformVars *vars)
{
	const EbTransformVariable *variable = variables_of(assembly);

	for (uint32 i = 0; i < assembly->head->nvariables; i++, variable++)
	{
		JsonbValue *value = &assembly->values[i];

		if (variable->source != FROM_PATH)
			resolve_reserved(variable->source, envelope, vars, value);
		else if (!walk_path(assembly->block, variable, envelope, value))
		{
			if (assembly->head->on_missing == EB_MISSING_ERROR)
				missing_path(assembly->block + variable->name, vars);
			assembly->missing[i] = true;
			value->type = jbvNull;
		}
	}
}

/* All paths yield the sample; NULL: none has a value. */
static void
resolve_dry(Assembly *assembly, const JsonbValue *sample, Jsonb *envelope,
			const EbTransformVars *vars)
{
	const EbTransformVariable *variable = variables_of(assembly);

	for (uint32 i = 0; i < assembly->head->nvariables; i++, variable++)
	{
		if (variable->source != FROM_PATH)
			resolve_reserved(variable->source, envelope, vars, &assembly->values[i]);
		else if (sample)
			assembly->values[i] = *sample;
		else
			assembly->missing[i] = true;	/* value: zeros are jbvNull */
	}
}

static void
begin_assembly(Assembly *assembly, const EbTransform *transform)
{
	memset(assembly, 0, sizeof(*assembly));
	assembly->block = (const char *) transform;
	assembly->head = (const EbTransformHead *) transform;
	assembly->limit = Min((Size) eb_max_entry_size * EB_TRANSFORM_MAX_GROWTH,
						  JENTRY_OFFLENMASK / 2);
	assembly->values = palloc0((assembly->head->nvariables + 1) * sizeof(JsonbValue));
	assembly->missing = palloc0((assembly->head->nvariables + 1) * sizeof(bool));
	initStringInfo(&assembly->out);
}

/*
 * A root that is a scalar is stored as an array of one element; on a bus
 * whatever is no object is wrapped into one, so that a path to the wrong
 * thing never keeps a publisher from publishing.
 */
static Jsonb *
finish_assembly(Assembly *assembly)
{
	const EbTransformNode *root = NODE(assembly, assembly->head->root);
	const JsonbValue *value = NULL;
	Jsonb	   *result;

	if (root->kind == EB_TEMPLATE_VARIABLE)
		value = &assembly->values[root->count];

	append_bytes(assembly, "\0\0\0", VARHDRSZ);
	if (assembly->head->for_bus && value &&
		!(value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data)))
	{
		bool		empty = is_omitted(assembly, assembly->head->root);
		Entries		entries = begin_container(assembly, JB_FOBJECT | !empty, empty ? 0 : 2);

		if (!empty)
		{
			put_entry(assembly, &entries, append_literal(assembly, JENTRY_ISSTRING, "value", 5));
			put_entry(assembly, &entries, append_value(assembly, value));
		}
	}
	else if (root->kind == EB_TEMPLATE_TEXT ||
			 (root->kind == EB_TEMPLATE_LITERAL && root->type != JENTRY_ISCONTAINER) ||
			 (value && value->type != jbvBinary))
	{
		Entries		entries = begin_container(assembly, JB_FARRAY | JB_FSCALAR | 1, 1);

		put_entry(assembly, &entries, append_node(assembly, assembly->head->root));
	}
	else
		append_node(assembly, assembly->head->root);

	result = (Jsonb *) assembly->out.data;
	SET_VARSIZE(result, assembly->out.len);
	return result;
}

Jsonb *
eb_transform_apply(const EbTransform *transform, Jsonb *envelope, const EbTransformVars *vars)
{
	Assembly	assembly;

	begin_assembly(&assembly, transform);
	resolve(&assembly, envelope, vars);
	return finish_assembly(&assembly);
}

static Jsonb *
jsonb_of_text(const char *text)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

void
eb_transform_dry_run(const EbTransform *transform)
{
	static const char *const samples[] = {
		"\"\\\"quoted\\\" \\\\ <x>\\n\\u0001\"",
		"{\"a\": [1.50, null, true, \"\\\"\"], \"\": {}}",
		"-1.0"
	};
	EbTransformVars vars = {"a \"rule\"", "default", eb_clock_now()};
	Jsonb	   *envelope = jsonb_of_text("{\"id\": \"0\", \"resources\": [], \"detail\": {\"a\": 1}}");

	for (size_t i = 0; i <= lengthof(samples); i++)
	{
		JsonbValue	sample;
		Assembly	assembly;
		Jsonb	   *result;
		Jsonb	   *again;

		begin_assembly(&assembly, transform);
		if (i < lengthof(samples))
		{
			Jsonb	   *jsonb = jsonb_of_text(samples[i]);

			if (!JB_ROOT_IS_SCALAR(jsonb) || !JsonbExtractScalar(&jsonb->root, &sample))
			{
				sample.type = jbvBinary;
				sample.val.binary.data = &jsonb->root;
				sample.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
			}
		}
		resolve_dry(&assembly, i < lengthof(samples) ? &sample : NULL, envelope, &vars);
		result = finish_assembly(&assembly);
		again = jsonb_of_text(JsonbToCString(NULL, &result->root, VARSIZE(result)));
		if (VARSIZE(result) != VARSIZE(again) ||
			memcmp(result, again, VARSIZE(result)) != 0)
			elog(ERROR, "input transformation does not yield valid jsonb");
	}
}
