/*-------------------------------------------------------------------------
 *
 * bus_template.c
 *	  Parses the two little languages of input transformation: paths and
 *	  templates.
 *
 * A path is EventBridge's subset of JSONPath: $, then .name, ."name",
 * ['name'] or [index], any number of them.  A name may contain "-", which
 * PostgreSQL's own jsonpath would read as a subtraction ($.detail-type is
 * the usual case), and a walk along known steps needs none of an engine's
 * machinery: 0.1 us with the result assembled, half the time of
 * jsonb_path_query_first() on a path of four steps.
 *
 * A template is JSON text in which <name> may stand in place of a value or
 * inside a string.  It is parsed here by hand, since a placeholder outside of
 * quotes is no JSON and the server's parser could only be fooled with
 * stand-ins, whose errors would then point at text that nobody wrote.  What
 * is accepted apart from placeholders is JSON (RFC 8259) exactly, with one
 * addition of EventBridge's: a template of several strings, one a line, is
 * one string of several lines.  A literal "<" in a string is written \u003c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "bus/bus_template.h"
#include "compat.h"

/* Nesting of a template; deeper ones are surely a mistake. */
#define MAX_TEMPLATE_DEPTH	100

/* numeric cannot hold more; found here, the message has the place */
#define MAX_EXPONENT_DIGITS	5

typedef struct PathParser
{
	const char *path;
	const char *at;
	const char *what;
} PathParser;

typedef struct TemplateParser
{
	const char *source;
	const char *at;
	EbVariableLookup lookup;
	void	   *arg;
} TemplateParser;

pg_noreturn static void path_error(const PathParser *parser, const char *expected);
pg_noreturn static void template_error(const TemplateParser *parser, const char *expected);
static EbTemplate *parse_value(TemplateParser *parser, int depth);

/* ---- paths ---- */

static void
path_error(const PathParser *parser, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid path \"%s\" in %s", parser->path, parser->what),
			 errdetail("Expected %s at character %d.", expected,
					   pg_mbstrlen_with_len(parser->path,
											parser->at - parser->path) + 1),
			 errhint("A path goes from the event to one value, for example $.detail.items[0].sku or $.detail['a key']; it has no wildcards, filters or slices.")));
}

static bool
is_name_char(char c)
{
	return (unsigned char) c > ' ' && strchr(".[]'\"*?(),:<>$@\\", c) == NULL;
}

/* A quoted name; \ takes the next character literally. */
static void
parse_quoted_name(PathParser *parser, EbPathStep *step)
{
	char		quote = *parser->at++;
	StringInfoData name;

	initStringInfo(&name);
	while (*parser->at != quote)
	{
		if (*parser->at == '\\' && parser->at[1] != '\0')
			parser->at++;
		if (*parser->at == '\0')
			path_error(parser, psprintf("a closing %c", quote));
		appendStringInfoChar(&name, *parser->at++);
	}
	parser->at++;
	step->key = name.data;
	step->key_len = name.len;
}

static void
parse_index(PathParser *parser, EbPathStep *step)
{
	const char *start = parser->at;
	int64		index = 0;

	while (*parser->at >= '0' && *parser->at <= '9')
	{
		index = index * 10 + (*parser->at - '0');
		if (index > PG_INT32_MAX)
		{
			parser->at = start;
			path_error(parser, "an array index below 2147483648");
		}
		parser->at++;
	}
	if (parser->at == start)
		path_error(parser, "an array index or a quoted name");
	step->index = (int) index;
}

static void
parse_step(PathParser *parser, EbPathStep *step)
{
	memset(step, 0, sizeof(*step));
	if (*parser->at == '.')
	{
		const char *start = ++parser->at;

		if (*start == '"')
		{
			parse_quoted_name(parser, step);
			return;
		}
		while (is_name_char(*parser->at))
			parser->at++;
		if (parser->at == start)
			path_error(parser, "a name");
		step->key = pnstrdup(start, parser->at - start);
		step->key_len = parser->at - start;
	}
	else if (*parser->at == '[')
	{
		parser->at++;
		if (*parser->at == '\'' || *parser->at == '"')
			parse_quoted_name(parser, step);
		else
			parse_index(parser, step);
		if (*parser->at != ']')
			path_error(parser, "\"]\"");
		parser->at++;
	}
	else
		path_error(parser, "\".name\", \"[index]\" or the end");
}

EbPath *
eb_path_parse(const char *path, const char *what)
{
	PathParser	parser = {path, path, what};
	EbPath	   *result = palloc0(sizeof(EbPath));
	int			allocated = 8;

	if (*parser.at != '$')
		path_error(&parser, "\"$\"");
	parser.at++;

	result->steps = palloc(allocated * sizeof(EbPathStep));
	while (*parser.at != '\0')
	{
		if (result->nsteps == allocated)
		{
			allocated *= 2;
			result->steps = repalloc(result->steps, allocated * sizeof(EbPathStep));
		}
		parse_step(&parser, &result->steps[result->nsteps]);
		result->nsteps++;
	}
	return result;
}

/* ---- templates ---- */

/* Characters before a place, plus one: what a person counts. */
static int
position(const TemplateParser *parser, const char *at)
{
	return pg_mbstrlen_with_len(parser->source, at - parser->source) + 1;
}

static void
template_error(const TemplateParser *parser, const char *expected)
{
	const char *at = parser->at;
	const char *hint = NULL;
	char		found[16] = "the end";

	if (*at != '\0')
		snprintf(found, sizeof(found), "\"%.*s\"", pg_mblen(at), at);
	if (at == parser->source)
		hint = "A template is JSON text; a plain text template needs double quotes around it.";
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("input template is not valid JSON"),
			 errdetail("Expected %s at character %d, but found %s.", expected,
					   position(parser, at), found),
			 hint ? errhint("%s", hint) : 0));
}

static void
skip_space(TemplateParser *parser)
{
	while (*parser->at == ' ' || *parser->at == '\t' ||
		   *parser->at == '\n' || *parser->at == '\r')
		parser->at++;
}

static EbTemplate *
make_node(EbTemplateKind kind)
{
	EbTemplate *node = palloc0(sizeof(EbTemplate));

	node->kind = kind;
	node->constant = (kind != EB_TEMPLATE_VARIABLE);
	return node;
}

/* The children array doubles at powers of two. */
static void
add_child(EbTemplate *node, EbTemplate *child)
{
	int			n = node->nchildren;

	if (n == 0)
		node->children = palloc(sizeof(EbTemplate *));
	else if ((n & (n - 1)) == 0)
		node->children = repalloc(node->children, 2 * n * sizeof(EbTemplate *));
	node->children[node->nchildren++] = child;
	node->constant &= child->constant;
}

static EbTemplate *
string_node(const char *data, int len)
{
	EbTemplate *node = make_node(EB_TEMPLATE_LITERAL);

	node->literal.type = jbvString;
	node->literal.val.string.val = pnstrdup(data, len);
	node->literal.val.string.len = len;
	return node;
}

/* <name> */
static EbTemplate *
parse_placeholder(TemplateParser *parser)
{
	const char *start = parser->at;
	EbTemplate *node = make_node(EB_TEMPLATE_VARIABLE);
	char	   *name;

	parser->at++;
	while ((unsigned char) *parser->at >= ' ' && strchr("<>\"\\", *parser->at) == NULL)
		parser->at++;
	if (*parser->at != '>' || parser->at == start + 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 *parser->at == '>' ?
				 errmsg("placeholder without a name in input template") :
				 errmsg("unterminated placeholder in input template"),
				 errdetail("The \"<\" stands at character %d.", position(parser, start)),
				 errhint("A placeholder is <name>.  Inside of a string, write a literal \"<\" as \\u003c.")));
	name = pnstrdup(start + 1, parser->at - start - 1);
	parser->at++;

	node->variable = parser->lookup(name, parser->arg);
	if (node->variable < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("variable \"%s\" of the input template is not defined", name),
				 errdetail("It stands at character %d.", position(parser, start)),
				 errhint("Define it in InputPathsMap, or use one of eb.rule-name, eb.rule-arn, eb.bus-name, eb.event, eb.event.json and eb.event.ingestion-time.  Inside of a string, write a literal \"<\" as \\u003c.")));
	return node;
}

static pg_wchar
parse_hex4(TemplateParser *parser)
{
	pg_wchar	code = 0;

	for (int i = 0; i < 4; i++)
	{
		char		c = *parser->at;

		if (c >= '0' && c <= '9')
			code = code * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			code = code * 16 + (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			code = code * 16 + (c - 'A' + 10);
		else
			template_error(parser, "four hexadecimal digits after \"\\u\"");
		parser->at++;
	}
	return code;
}

/* \uXXXX, with the backslash and u already read; pairs make one character. */
static void
parse_unicode_escape(TemplateParser *parser, StringInfo string)
{
	const char *start = parser->at - 2;
	pg_wchar	code = parse_hex4(parser);
	unsigned char converted[MAX_UNICODE_EQUIVALENT_STRING + 1];

	if (is_utf16_surrogate_first(code) && parser->at[0] == '\\' && parser->at[1] == 'u')
	{
		pg_wchar	second;

		parser->at += 2;
		second = parse_hex4(parser);
		if (is_utf16_surrogate_second(second))
			code = surrogate_pair_to_codepoint(code, second);
	}
	if (code == 0 || is_utf16_surrogate_first(code) || is_utf16_surrogate_second(code))
	{
		parser->at = start;
		template_error(parser, code == 0 ? "no \\u0000, which text cannot hold," :
					   "a pair of surrogates \\uD8xx\\uDCxx");
	}
	pg_unicode_to_server(code, converted);
	appendStringInfoString(string, (char *) converted);
}

static void
parse_escape(TemplateParser *parser, StringInfo string)
{
	static const char names[] = "\"\\/bfnrt";
	static const char values[] = "\"\\/\b\f\n\r\t";
	const char *found;

	parser->at++;
	if (*parser->at == 'u')
	{
		parser->at++;
		parse_unicode_escape(parser, string);
		return;
	}
	found = (*parser->at == '\0') ? NULL : strchr(names, *parser->at);
	if (found == NULL)
		template_error(parser, "one of \" \\ / b f n r t u after \"\\\"");
	appendStringInfoChar(string, values[found - names]);
	parser->at++;
}

/* Append the pieces of a string to a node; is_key forbids placeholders. */
static void
parse_string_into(TemplateParser *parser, EbTemplate *string, bool is_key)
{
	StringInfoData piece;

	initStringInfo(&piece);
	parser->at++;
	while (*parser->at != '"')
	{
		if (*parser->at == '\\')
			parse_escape(parser, &piece);
		else if (*parser->at == '<')
		{
			if (is_key)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("placeholder in an object key of the input template"),
						 errdetail("It stands at character %d.", position(parser, parser->at)),
						 errhint("Only values may have placeholders.  Write a literal \"<\" as \\u003c.")));
			if (piece.len > 0)
				add_child(string, string_node(piece.data, piece.len));
			resetStringInfo(&piece);
			add_child(string, parse_placeholder(parser));
		}
		else if (*parser->at == '\0')
			template_error(parser, "a closing double quote");
		else if ((unsigned char) *parser->at < ' ')
			template_error(parser, "a control character to be written as an escape such as \\n");
		else
			appendStringInfoChar(&piece, *parser->at++);
	}
	parser->at++;
	if (piece.len > 0)
		add_child(string, string_node(piece.data, piece.len));
	pfree(piece.data);
}

/* A text without placeholders is a plain literal. */
static EbTemplate *
fold_text(EbTemplate *string)
{
	StringInfoData all;

	if (!string->constant)
		return string;
	initStringInfo(&all);
	for (int i = 0; i < string->nchildren; i++)
		appendBinaryStringInfo(&all, string->children[i]->literal.val.string.val,
							   string->children[i]->literal.val.string.len);
	return string_node(all.data, all.len);
}

static EbTemplate *
parse_number(TemplateParser *parser)
{
	const char *start = parser->at;
	const char *exponent;
	EbTemplate *node = make_node(EB_TEMPLATE_LITERAL);
	Datum		number;

	if (*parser->at == '-')
		parser->at++;
	if (*parser->at < '0' || *parser->at > '9')
		template_error(parser, "a digit");
	if (*parser->at == '0')
		parser->at++;
	else
		while (*parser->at >= '0' && *parser->at <= '9')
			parser->at++;
	if (*parser->at == '.')
	{
		parser->at++;
		if (*parser->at < '0' || *parser->at > '9')
			template_error(parser, "a digit");
		while (*parser->at >= '0' && *parser->at <= '9')
			parser->at++;
	}
	if (*parser->at == 'e' || *parser->at == 'E')
	{
		parser->at++;
		if (*parser->at == '+' || *parser->at == '-')
			parser->at++;
		if (*parser->at < '0' || *parser->at > '9')
			template_error(parser, "a digit");
		exponent = parser->at;
		while (*parser->at >= '0' && *parser->at <= '9')
			parser->at++;
		if (parser->at - exponent > MAX_EXPONENT_DIGITS)
		{
			parser->at = exponent;
			template_error(parser, "an exponent of at most five digits");
		}
	}
	number = DirectFunctionCall3(numeric_in,
								 CStringGetDatum(pnstrdup(start, parser->at - start)),
								 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	node->literal.type = jbvNumeric;
	node->literal.val.numeric = DatumGetNumeric(number);
	return node;
}

static EbTemplate *
parse_word(TemplateParser *parser)
{
	EbTemplate *node = make_node(EB_TEMPLATE_LITERAL);
	const char *start = parser->at;
	int			len;

	while (*parser->at >= 'a' && *parser->at <= 'z')
		parser->at++;
	len = parser->at - start;
	if (len == 4 && memcmp(start, "null", 4) == 0)
		node->literal.type = jbvNull;
	else if (len == 4 && memcmp(start, "true", 4) == 0)
	{
		node->literal.type = jbvBool;
		node->literal.val.boolean = true;
	}
	else if (len == 5 && memcmp(start, "false", 5) == 0)
		node->literal.type = jbvBool;
	else
	{
		parser->at = start;
		template_error(parser, "a JSON value or a placeholder");
	}
	return node;
}

static EbTemplate *
parse_array(TemplateParser *parser, int depth)
{
	EbTemplate *array = make_node(EB_TEMPLATE_ARRAY);

	parser->at++;
	skip_space(parser);
	if (*parser->at == ']')
	{
		parser->at++;
		return array;
	}
	for (;;)
	{
		add_child(array, parse_value(parser, depth + 1));
		skip_space(parser);
		if (*parser->at == ']')
			break;
		if (*parser->at != ',')
			template_error(parser, "\",\" or \"]\"");
		parser->at++;
	}
	parser->at++;
	return array;
}

/* A key with its value while an object is read; seq tells the last of equals. */
typedef struct Member
{
	JsonbValue	key;
	EbTemplate *value;
	int			seq;
} Member;

/* jsonb's order of keys: shorter ones first, then by bytes; then as read. */
static int
compare_members(const void *a, const void *b)
{
	const Member *x = a;
	const Member *y = b;
	int			order;

	if (x->key.val.string.len != y->key.val.string.len)
		return x->key.val.string.len < y->key.val.string.len ? -1 : 1;
	order = memcmp(x->key.val.string.val, y->key.val.string.val, x->key.val.string.len);
	return order != 0 ? order : x->seq - y->seq;
}

/* Sort, and let the last of equal keys win, as jsonb does. */
static EbTemplate *
finish_object(Member *members, int n)
{
	EbTemplate *object = make_node(EB_TEMPLATE_OBJECT);

	qsort(members, n, sizeof(Member), compare_members);
	object->keys = palloc(Max(n, 1) * sizeof(JsonbValue));
	for (int i = 0; i < n; i++)
	{
		const JsonbValue *next = (i + 1 < n) ? &members[i + 1].key : NULL;

		if (next && next->val.string.len == members[i].key.val.string.len &&
			memcmp(next->val.string.val, members[i].key.val.string.val,
				   next->val.string.len) == 0)
			continue;
		object->keys[object->nchildren] = members[i].key;
		add_child(object, members[i].value);
	}
	return object;
}

static EbTemplate *
parse_object(TemplateParser *parser, int depth)
{
	int			n = 0;
	int			allocated = 8;
	Member	   *members = palloc(allocated * sizeof(Member));

	parser->at++;
	skip_space(parser);
	while (*parser->at != '}')
	{
		EbTemplate *key = make_node(EB_TEMPLATE_TEXT);

		if (n > 0)
		{
			if (*parser->at != ',')
				template_error(parser, "\",\" or \"}\"");
			parser->at++;
			skip_space(parser);
		}
		if (n == allocated)
		{
			allocated *= 2;
			members = repalloc(members, allocated * sizeof(Member));
		}
		if (*parser->at != '"')
			template_error(parser, n > 0 ? "a key in double quotes" :
						   "a key in double quotes or \"}\"");
		parse_string_into(parser, key, true);
		members[n].key = fold_text(key)->literal;
		skip_space(parser);
		if (*parser->at != ':')
			template_error(parser, "\":\"");
		parser->at++;
		members[n].value = parse_value(parser, depth + 1);
		members[n].seq = n;
		n++;
		skip_space(parser);
	}
	parser->at++;
	return finish_object(members, n);
}

static EbTemplate *
parse_value(TemplateParser *parser, int depth)
{
	EbTemplate *string;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();

	if (depth > MAX_TEMPLATE_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("input template is nested too deeply"),
				 errdetail("The limit is %d levels.", MAX_TEMPLATE_DEPTH)));

	skip_space(parser);
	switch (*parser->at)
	{
		case '{':
			return parse_object(parser, depth);
		case '[':
			return parse_array(parser, depth);
		case '<':
			return parse_placeholder(parser);
		case '"':
			string = make_node(EB_TEMPLATE_TEXT);
			parse_string_into(parser, string, false);
			return fold_text(string);
		case '-':
		case '0':
		case '1':
		case '2':
		case '3':
		case '4':
		case '5':
		case '6':
		case '7':
		case '8':
		case '9':
			return parse_number(parser);
		default:
			return parse_word(parser);
	}
}

/* Strings, one a line: one text with line feeds between them. */
static EbTemplate *
parse_lines(TemplateParser *parser)
{
	EbTemplate *string = make_node(EB_TEMPLATE_TEXT);

	for (;;)
	{
		const char *end;

		parse_string_into(parser, string, false);
		end = parser->at;
		skip_space(parser);
		if (*parser->at != '"' || memchr(end, '\n', parser->at - end) == NULL)
			break;
		add_child(string, string_node("\n", 1));
	}
	return fold_text(string);
}

EbTemplate *
eb_template_parse(const char *source, EbVariableLookup lookup, void *arg)
{
	TemplateParser parser = {source, source, lookup, arg};
	EbTemplate *result;

	skip_space(&parser);
	if (*parser.at == '"')
		result = parse_lines(&parser);
	else
		result = parse_value(&parser, 0);
	skip_space(&parser);
	if (*parser.at != '\0')
		template_error(&parser, "the end of the template");
	return result;
}
