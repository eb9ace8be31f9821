/*-------------------------------------------------------------------------
 *
 * bus_transform.c
 *	  Input transformation: what a target gets in place of the envelope.
 *
 * A constant, a path and a template are the same thing here: a skeleton of
 * the result with holes in it, each hole a variable (a path into the event,
 * or one of the reserved ones).  It is compiled when the target is put, into
 * one block of offsets, so that it can lie in a shared rule set at any
 * address.
 *
 * Everything that can be wrong with it is found here, when the target is put:
 * what is left for bus_assemble.c cannot fail, except by the size of the
 * result and where the target asks for an error on a missing path.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "bus/bus_transform.h"
#include "eb.h"
#include "errors.h"

typedef struct ReservedVariable
{
	const char *name;			/* after aws.events., eb.events. or eb. */
	EbTransformSource source;
} ReservedVariable;

static const ReservedVariable reserved_variables[] = {
	{"rule-name", FROM_RULE_NAME},
	{"rule-arn", FROM_RULE_ARN},
	{"bus-name", FROM_BUS_NAME},
	{"event", FROM_EVENT},
	{"event.json", FROM_EVENT_JSON},
	{"event.ingestion-time", FROM_INGESTION_TIME}
};

static const char *const reserved_prefixes[] = {"aws.events.", "eb.events.", "eb."};

/* A variable as the parser knows it. */
typedef struct ParsedVariable
{
	EbTransformSource source;
	const char *name;			/* in the template; NULL: input_path */
	const char *path_text;
	EbPath	   *path;
	int			number;			/* in the block; -1: not used */
} ParsedVariable;

typedef struct Compiler
{
	StringInfoData block;
	ParsedVariable variables[EB_TRANSFORM_MAX_VARIABLES + lengthof(reserved_variables)];
	int			nvariables;
	int			npaths;			/* of these, from InputPathsMap */
	int			nused;
} Compiler;

static uint32
reserve(Compiler *compiler, Size size)
{
	uint32		at = compiler->block.len;
	Size		padded = TYPEALIGN(sizeof(uint32), size);

	if (at + padded > MaxAllocSize / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("input transformation is too large")));
	enlargeStringInfo(&compiler->block, padded);
	memset(compiler->block.data + at, 0, padded);
	compiler->block.len += padded;
	return at;
}

static uint32
put_bytes(Compiler *compiler, const void *data, Size size)
{
	uint32		at = reserve(compiler, size);

	memcpy(compiler->block.data + at, data, size);
	return at;
}

#define BLOCK_PTR(compiler, type, at) ((type *) ((compiler)->block.data + (at)))

/* ---- compilation ---- */

/* A value as a literal node: the bytes that go into the result. */
static uint32
put_literal(Compiler *compiler, const JsonbValue *value)
{
	EbTransformNode node = {EB_TEMPLATE_LITERAL, 0, JENTRY_ISNULL};
	const void *data = NULL;
	uint32		at;

	switch (value->type)
	{
		case jbvNull:
			break;
		case jbvBool:
			node.type = value->val.boolean ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE;
			break;
		case jbvString:
			node.type = JENTRY_ISSTRING;
			data = value->val.string.val;
			node.count = value->val.string.len;
			break;
		case jbvNumeric:
			node.type = JENTRY_ISNUMERIC;
			data = value->val.numeric;
			node.count = VARSIZE_ANY(value->val.numeric);
			break;
		case jbvBinary:
			node.type = JENTRY_ISCONTAINER;
			data = value->val.binary.data;
			node.count = value->val.binary.len;
			break;
		default:
			elog(ERROR, "unexpected type %d of a literal", (int) value->type);
	}
	at = put_bytes(compiler, &node, sizeof(node));
	if (node.count > 0)
		put_bytes(compiler, data, node.count);
	return at;
}

/* A constant part of a template as a value; containers become jbvBinary. */
static JsonbValue *
push_constant(JsonbParseState **state, const EbTemplate *template)
{
	bool		object = (template->kind == EB_TEMPLATE_OBJECT);

	check_stack_depth();

	pushJsonbValue(state, object ? WJB_BEGIN_OBJECT : WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < template->nchildren; i++)
	{
		EbTemplate *child = template->children[i];

		if (object)
			pushJsonbValue(state, WJB_KEY, &template->keys[i]);
		if (child->kind == EB_TEMPLATE_LITERAL)
			pushJsonbValue(state, object ? WJB_VALUE : WJB_ELEM, &child->literal);
		else
			push_constant(state, child);
	}
	return pushJsonbValue(state, object ? WJB_END_OBJECT : WJB_END_ARRAY, NULL);
}

static uint32
put_constant(Compiler *compiler, const EbTemplate *template)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;
	Jsonb	   *jsonb;

	if (template->kind == EB_TEMPLATE_LITERAL)
		return put_literal(compiler, &template->literal);
	jsonb = JsonbValueToJsonb(push_constant(&state, template));
	value.type = jbvBinary;
	value.val.binary.data = &jsonb->root;
	value.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	return put_literal(compiler, &value);
}

/* Number in the block of a parsed variable; those never used get none. */
static uint32
use_variable(Compiler *compiler, int parsed)
{
	ParsedVariable *variable = &compiler->variables[parsed];

	if (variable->number < 0)
		variable->number = compiler->nused++;
	return variable->number;
}

static uint32
put_template(Compiler *compiler, const EbTemplate *template)
{
	EbTransformNode node = {template->kind, template->nchildren, 0};
	uint32		at;

	check_stack_depth();

	if (template->constant)
		return put_constant(compiler, template);

	if (template->kind == EB_TEMPLATE_VARIABLE)
	{
		node.count = use_variable(compiler, template->variable);
		return put_bytes(compiler, &node, sizeof(node));
	}

	at = put_bytes(compiler, &node, sizeof(node));
	if (template->kind == EB_TEMPLATE_OBJECT)
	{
		uint32		fields = reserve(compiler, template->nchildren * sizeof(EbTransformField));

		for (int i = 0; i < template->nchildren; i++)
		{
			JsonbValue *key = &template->keys[i];
			EbTransformField field;

			field.key = put_bytes(compiler, key->val.string.val, key->val.string.len);
			field.key_len = key->val.string.len;
			field.value = put_template(compiler, template->children[i]);
			BLOCK_PTR(compiler, EbTransformField, fields)[i] = field;
		}
	}
	else
	{
		uint32		items = reserve(compiler, template->nchildren * sizeof(uint32));

		for (int i = 0; i < template->nchildren; i++)
		{
			uint32		child = put_template(compiler, template->children[i]);

			BLOCK_PTR(compiler, uint32, items)[i] = child;
		}
	}
	return at;
}

static void
put_variables(Compiler *compiler)
{
	uint32		array = reserve(compiler, compiler->nused * sizeof(EbTransformVariable));
	EbTransformHead *head;

	for (int i = 0; i < compiler->nvariables; i++)
	{
		ParsedVariable *parsed = &compiler->variables[i];
		EbTransformVariable variable = {parsed->source};

		if (parsed->number < 0)
			continue;
		if (parsed->path)
		{
			variable.name = put_bytes(compiler, parsed->path_text, strlen(parsed->path_text) + 1);
			variable.nsteps = parsed->path->nsteps;
			variable.steps = reserve(compiler, variable.nsteps * sizeof(EbTransformStep));
			for (int j = 0; j < parsed->path->nsteps; j++)
			{
				EbPathStep *from = &parsed->path->steps[j];
				EbTransformStep step = {0, from->index};

				if (from->key)
				{
					step.key = put_bytes(compiler, from->key, from->key_len);
					step.key_len = from->key_len;
				}
				BLOCK_PTR(compiler, EbTransformStep, variable.steps)[j] = step;
			}
		}
		BLOCK_PTR(compiler, EbTransformVariable, array)[parsed->number] = variable;
	}
	head = BLOCK_PTR(compiler, EbTransformHead, 0);
	head->nvariables = compiler->nused;
	head->variables = array;
}

static ParsedVariable *
add_variable(Compiler *compiler, EbTransformSource source, const char *name)
{
	ParsedVariable *variable = &compiler->variables[compiler->nvariables++];

	memset(variable, 0, sizeof(*variable));
	variable->source = source;
	variable->name = name;
	variable->number = -1;
	return variable;
}

/* EbVariableLookup over InputPathsMap and the reserved names. */
static int
lookup_variable(const char *name, void *arg)
{
	Compiler   *compiler = arg;
	const char *rest = NULL;

	for (int i = 0; i < compiler->npaths; i++)
		if (strcmp(compiler->variables[i].name, name) == 0)
			return i;

	for (size_t i = 0; i < lengthof(reserved_prefixes) && rest == NULL; i++)
		if (strncmp(name, reserved_prefixes[i], strlen(reserved_prefixes[i])) == 0)
			rest = name + strlen(reserved_prefixes[i]);
	if (rest == NULL)
		return -1;
	for (size_t i = 0; i < lengthof(reserved_variables); i++)
	{
		EbTransformSource source = reserved_variables[i].source;

		if (strcmp(reserved_variables[i].name, rest) != 0)
			continue;
		for (int j = compiler->npaths; j < compiler->nvariables; j++)
			if (compiler->variables[j].source == source)
				return j;
		add_variable(compiler, source, name);
		return compiler->nvariables - 1;
	}
	return -1;
}

/* Names start with neither aws. nor eb., in any case, and fit into <name>. */
static void
check_variable_name(const char *name)
{
	if (name[0] == '\0' || strpbrk(name, "<>\"\\") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid variable name \"%s\" in InputPathsMap", name),
				 errdetail("A name has at least one character and none of < > \" \\.")));
	if (pg_strncasecmp(name, "aws.", 4) == 0 || pg_strncasecmp(name, "eb.", 3) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("variable name \"%s\" in InputPathsMap is reserved", name),
				 errdetail("Names that start with \"aws.\" or \"eb.\" belong to the variables that every template has.")));
}

static void
compile_paths_map(Compiler *compiler, JsonbContainer *map)
{
	JsonbIterator *it = JsonbIteratorInit(map);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	if (JsonContainerSize(map) > EB_TRANSFORM_MAX_VARIABLES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("InputPathsMap has %d variables", (int) JsonContainerSize(map)),
				 errdetail("The limit is %d.", EB_TRANSFORM_MAX_VARIABLES)));

	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		ParsedVariable *variable;

		if (token != WJB_KEY)
			continue;
		JsonbIteratorNext(&it, &value, true);
		variable = add_variable(compiler, FROM_PATH,
								pnstrdup(key.val.string.val, key.val.string.len));
		check_variable_name(variable->name);
		if (value.type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("InputPathsMap has no path for variable \"%s\"", variable->name),
					 errdetail("Expected a string such as \"$.detail.id\".")));
		variable->path_text = pnstrdup(value.val.string.val, value.val.string.len);
		variable->path = eb_path_parse(variable->path_text,
									   psprintf("variable \"%s\" of InputPathsMap", variable->name));
	}
	compiler->npaths = compiler->nvariables;
}

static uint32
compile_transformer(Compiler *compiler, Jsonb *transformer, bool for_bus)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;
	char	   *text = NULL;
	EbTemplate *template;

	if (!JB_ROOT_IS_OBJECT(transformer))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input_transformer is not an object"),
				 errhint("For example: {\"InputPathsMap\": {\"id\": \"$.detail.id\"}, \"InputTemplate\": \"{\\\"order\\\": <id>}\"}")));
	it = JsonbIteratorInit(&transformer->root);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		char	   *name;

		if (token != WJB_KEY)
			continue;
		JsonbIteratorNext(&it, &value, true);
		name = pnstrdup(key.val.string.val, key.val.string.len);
		if (strcmp(name, "InputPathsMap") == 0)
		{
			if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("InputPathsMap is not an object"),
						 errhint("It maps variables to paths: {\"id\": \"$.detail.id\"}")));
			compile_paths_map(compiler, value.val.binary.data);
		}
		else if (strcmp(name, "InputTemplate") == 0)
		{
			if (value.type != jbvString)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("InputTemplate is not a string"),
						 errhint("It is JSON text within a string: \"{\\\"order\\\": <id>}\"")));
			text = pnstrdup(value.val.string.val, value.val.string.len);
		}
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("input_transformer has no key \"%s\"", name),
					 errhint("Its keys are InputPathsMap and InputTemplate.")));
	}
	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input_transformer has no InputTemplate")));

	template = eb_template_parse(text, lookup_variable, compiler);
	if (for_bus && template->kind != EB_TEMPLATE_OBJECT && template->kind != EB_TEMPLATE_VARIABLE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input template for a bus is not an object"),
				 errdetail("The result becomes the detail of an event.")));
	return put_template(compiler, template);
}

static uint32
compile_input_path(Compiler *compiler, const char *path)
{
	ParsedVariable *variable = add_variable(compiler, FROM_PATH, NULL);
	EbTemplate	hole = {EB_TEMPLATE_VARIABLE};

	variable->path_text = path;
	variable->path = eb_path_parse(path, "input_path");
	return put_template(compiler, &hole);
}

static uint32
compile_input(Compiler *compiler, Jsonb *input, bool for_bus)
{
	JsonbValue	value;

	if (for_bus && !JB_ROOT_IS_OBJECT(input))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("input for a bus is not an object"),
				 errdetail("It becomes the detail of an event.")));
	if (!JB_ROOT_IS_SCALAR(input) || !JsonbExtractScalar(&input->root, &value))
	{
		value.type = jbvBinary;
		value.val.binary.data = &input->root;
		value.val.binary.len = VARSIZE(input) - VARHDRSZ;
	}
	return put_literal(compiler, &value);
}

static void
check_size(Size size, const char *what)
{
	if (size > EB_TRANSFORM_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s is too large", what),
				 errdetail("It has %zu bytes; the limit is %d.", size, EB_TRANSFORM_MAX_BYTES)));
}

/*
 * The variables of a template end up in the block in the order of their first
 * use; those that it does not use are checked and dropped.
 */
EbTransform *
eb_transform_compile(Jsonb *input, const char *input_path, Jsonb *input_transformer,
					 EbOnMissing on_missing, bool for_bus)
{
	Compiler   *compiler = palloc0(sizeof(Compiler));
	EbTransformHead *head;
	uint32		root;

	if ((input != NULL) + (input_path != NULL) + (input_transformer != NULL) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("more than one of input, input_path and input_transformer"),
				 errhint("A target has one of them, or none to get the whole envelope.")));

	initStringInfo(&compiler->block);
	reserve(compiler, sizeof(EbTransformHead));
	if (input)
	{
		check_size(VARSIZE(input), "input");
		root = compile_input(compiler, input, for_bus);
	}
	else if (input_transformer)
	{
		check_size(VARSIZE(input_transformer), "input_transformer");
		root = compile_transformer(compiler, input_transformer, for_bus);
	}
	else
	{
		if (input_path == NULL)
			input_path = "$";
		check_size(strlen(input_path), "input_path");
		root = compile_input_path(compiler, input_path);
	}
	put_variables(compiler);

	head = BLOCK_PTR(compiler, EbTransformHead, 0);
	head->pub.size = compiler->block.len;
	head->root = root;
	head->on_missing = on_missing;
	head->for_bus = for_bus;
	eb_transform_dry_run(&head->pub);
	return &head->pub;
}

EbOnMissing
eb_transform_on_missing(const char *text)
{
	if (strcmp(text, "null") == 0)
		return EB_MISSING_NULL;
	if (strcmp(text, "omit") == 0)
		return EB_MISSING_OMIT;
	if (strcmp(text, "error") == 0)
		return EB_MISSING_ERROR;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" of on_missing", text),
			 errhint("It is null, omit or error: what a path without a value gives.")));
}

/* ---- SQL ---- */

PG_FUNCTION_INFO_V1(eb_test_transform);

/*
 * test_transform(event, input, input_path, input_transformer, on_missing):
 * what a target would get.
 */
Datum
eb_test_transform(PG_FUNCTION_ARGS)
{
	EbTransformVars vars = {"test-rule", "default", 0};
	Jsonb	   *event;
	EbTransform *transform;

	if (PG_ARGISNULL(0))
		eb_error_null("event");
	if (PG_ARGISNULL(4))
		eb_error_null("on_missing");
	event = PG_GETARG_JSONB_P(0);
	if (!JB_ROOT_IS_OBJECT(event))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event is not an object")));
	vars.ingestion_time = eb_clock_now();
	transform = eb_transform_compile(PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1),
									 PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)),
									 PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3),
									 eb_transform_on_missing(text_to_cstring(PG_GETARG_TEXT_PP(4))),
									 false);
	PG_RETURN_JSONB_P(eb_transform_apply(transform, event, &vars));
}
