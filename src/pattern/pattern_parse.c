/*-------------------------------------------------------------------------
 *
 * pattern_parse.c
 *	  A jsonb pattern becomes a tree of fields and $ors, then conjunctions.
 *
 * The pattern is walked once in its stored order, so that the error that is
 * reported is the first one in that order.  The walk keeps the jsonpath of
 * where it is; every error names it.  (Tests of one list: pattern_operator.c.)
 *
 * A field that stands twice among those that must hold together is found on
 * the way too: each path has a mark "used by the conjunction being read".  An
 * alternative of $or starts from the marks of its surroundings; when it ends
 * its own are taken back, and when the $or ends those of all its alternatives
 * are set again for what follows.  A log of the marks makes that linear.
 *
 * The expansion of $or is the cross product of what parallel $ors offer; it
 * is counted, with overflow in mind, before anything is built.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"

#include "pattern/pattern_parse.h"

#define OR_KEY		"$or"
#define OR_RULE \
	"for \"$or\" as operator a list of at least two objects, none of them " \
	"empty and none with a reserved word as key"

static const char *const operator_names[] = {
	"exactly", "prefix", "suffix", "equals-ignore-case", "wildcard",
	"anything-but", "numeric", "cidr", "exists"
};

/* Not keys below an alternative of $or, besides the operators. */
static const char *const reserved_words[] = {
	"=", "<", "<=", ">", ">=", "regex", "not-wildcard",
	"not-equals-ignore-case", "date-after", "date-on-or-after", "date-before",
	"date-on-or-before", "in-date-range", "ip-address-in-range",
	"ip-address-not-in-range"
};

static void parse_object(EbParser *ps, const JsonbContainer *object,
						 uint32 node, EbAnd *and, int or_depth);

static bool
in_list(const char *const *list, int n, const char *s, uint32 len)
{
	for (int i = 0; i < n; i++)
	{
		if (strlen(list[i]) == len && memcmp(list[i], s, len) == 0)
			return true;
	}
	return false;
}

static bool
is_operator_name(const char *s, uint32 len)
{
	return in_list(operator_names, lengthof(operator_names), s, len);
}

/*
 * The operator that a misspelt name means (letter case, - and _ aside), as
 * in "Prefix" or "anythingBut"; NULL if there is none.
 */
const char *
eb_operator_meant(const char *s, uint32 len)
{
	for (int i = 0; i < (int) lengthof(operator_names); i++)
	{
		const char *name = operator_names[i];
		uint32		at = 0;

		for (;;)
		{
			while (*name == '-')
				name++;
			while (at < len && (s[at] == '-' || s[at] == '_'))
				at++;
			if (*name == '\0' || at == len)
				break;
			if (s[at] != *name && !(s[at] >= 'A' && s[at] <= 'Z' &&
									s[at] - 'A' + 'a' == *name))
				break;
			name++;
			at++;
		}
		if (*name == '\0' && at == len)
			return operator_names[i];
	}
	return NULL;
}

static bool
is_reserved(const char *s, uint32 len)
{
	return is_operator_name(s, len) ||
		in_list(reserved_words, lengthof(reserved_words), s, len);
}

/* ---- where we are, and errors ---- */

/* Appends ".key" to a jsonpath, quoted if it has to be. */
void
eb_key_to_path(StringInfo out, const char *key, uint32 keylen)
{
	bool		plain = keylen > 0 && !(key[0] >= '0' && key[0] <= '9');

	for (uint32 i = 0; plain && i < keylen; i++)
	{
		char		c = key[i];

		plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || c == '_';
	}
	appendStringInfoChar(out, '.');
	if (plain)
		appendBinaryStringInfo(out, key, keylen);
	else
		eb_string_to_json(out, key, keylen);
}

int
eb_parse_push_key(EbParser *ps, const char *key, uint32 keylen)
{
	int			mark = ps->path.len;

	eb_key_to_path(&ps->path, key, keylen);
	return mark;
}

int
eb_parse_push_index(EbParser *ps, int index)
{
	int			mark = ps->path.len;

	appendStringInfo(&ps->path, "[%d]", index);
	return mark;
}

void
eb_parse_pop(EbParser *ps, int mark)
{
	ps->path.len = mark;
	ps->path.data[mark] = '\0';
}

/*
 * Refuses the pattern.  found may be NULL where expected says it all; the
 * hint is a whole sentence.
 */
void
eb_parse_refuse(EbParser *ps, const char *expected, const EbValue *found,
				const char *hint)
{
	StringInfoData text;

	initStringInfo(&text);
	if (found)
	{
		appendStringInfoString(&text, ", found ");
		eb_value_to_json(&text, found, EB_PARSE_FOUND_BYTES);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid event pattern at %s: expected %s%s%s",
					ps->path.data, expected,
					ps->or_as_key ? ", or " OR_RULE : "", text.data),
			 errhint("%s", hint)));
}

static void
refuse_limit(const char *what, int limit, const char *value)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("event pattern has too many %s", what),
			 errdetail("The limit is %d; the pattern has %s.", limit, value)));
}

/* Depth of objects and lists, jsonb's own included. */
void
eb_parse_check_depth(int depth)
{
	check_stack_depth();
	if (depth > EB_PATTERN_MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event pattern is nested too deeply"),
				 errdetail("The limit is %d levels; the pattern has at least %d.",
						   EB_PATTERN_MAX_DEPTH, depth)));
}

/* ---- paths ---- */

static uint32
path_node(EbParser *ps, uint32 parent, const char *key, uint32 keylen)
{
	StringInfo	buf = &ps->key;
	bool		found;
	uint32		id;
	EbPathNode *node;
	char	   *copy;

	resetStringInfo(buf);
	appendBinaryStringInfo(buf, (char *) &parent, sizeof(parent));
	appendBinaryStringInfo(buf, key, keylen);
	id = eb_intern(ps->paths, buf->data, buf->len, &found);
	if (found)
		return id;

	if (id >= ps->maxnodes)
	{
		ps->maxnodes *= 2;
		ps->nodes = repalloc(ps->nodes, ps->maxnodes * sizeof(EbPathNode));
	}
	copy = palloc(keylen + 1);
	if (keylen > 0)
		memcpy(copy, key, keylen);
	copy[keylen] = '\0';
	node = &ps->nodes[id];
	node->parent = parent;
	node->key = copy;
	node->keylen = keylen;
	node->depth = ps->nodes[parent].depth + 1;
	node->in_use = false;
	return id;
}

static void
mark_used(EbParser *ps, uint32 node)
{
	ps->nodes[node].in_use = true;
	if (ps->nused == ps->maxused)
	{
		ps->maxused *= 2;
		ps->used = repalloc(ps->used, ps->maxused * sizeof(uint32));
	}
	ps->used[ps->nused++] = node;
}

/* ---- the tree ---- */

static void
add_field(EbAnd *and, EbField *field)
{
	if (and->nfields == and->maxfields)
	{
		and->maxfields = Max(8, and->maxfields * 2);
		and->fields = and->fields == NULL ?
			palloc(and->maxfields * sizeof(EbField *)) :
			repalloc(and->fields, and->maxfields * sizeof(EbField *));
	}
	and->fields[and->nfields++] = field;
}

static void
add_or(EbAnd *and, EbOr *or)
{
	if (and->nors == and->maxors)
	{
		and->maxors = Max(4, and->maxors * 2);
		and->ors = and->ors == NULL ?
			palloc(and->maxors * sizeof(EbOr *)) :
			repalloc(and->ors, and->maxors * sizeof(EbOr *));
	}
	and->ors[and->nors++] = or;
}

static void
parse_field(EbParser *ps, const JsonbContainer *list, uint32 node, EbAnd *and)
{
	EbField    *field;

	if (ps->nodes[node].in_use)
	{
		EbValue		v = {EB_ARRAY, 0, (const char *) list};

		eb_parse_refuse(ps, "each field only once among those that must hold together",
						&v, "Put all tests of the field into one list, or the two lists into different alternatives of \"$or\".");
	}
	mark_used(ps, node);
	field = palloc0(sizeof(EbField));
	field->node = node;
	eb_parse_tests(ps, list, field);
	add_field(and, field);
}

/* Is the value of a key "$or" a list of alternatives? */
static bool
is_or_operator(const EbValue *v)
{
	EbIter		it;
	EbValue		alternative;

	if (v->type != EB_ARRAY || JsonContainerSize(EB_CONTAINER(*v)) < 2)
		return false;
	eb_iter_init(&it, EB_CONTAINER(*v));
	while (eb_iter_element(&it, &alternative))
	{
		EbIter		keys;
		EbValue		key;
		EbValue		value;

		if (alternative.type != EB_OBJECT ||
			JsonContainerSize(EB_CONTAINER(alternative)) == 0)
			return false;
		eb_iter_init(&keys, EB_CONTAINER(alternative));
		while (eb_iter_pair(&keys, &key, &value))
		{
			if (is_reserved(key.ptr, key.len))
				return false;
		}
	}
	return true;
}

/* Has a list an object that is no operator test? */
static bool
has_other_object(const EbValue *v)
{
	EbIter		it;
	EbValue		e;

	if (v->type != EB_ARRAY)
		return false;
	eb_iter_init(&it, EB_CONTAINER(*v));
	while (eb_iter_element(&it, &e))
	{
		EbIter		keys;
		EbValue		key;
		EbValue		value;

		if (e.type != EB_OBJECT)
			continue;
		eb_iter_init(&keys, EB_CONTAINER(e));
		if (keys.n != 1)
			return true;
		(void) eb_iter_pair(&keys, &key, &value);
		if (!is_operator_name(key.ptr, key.len))
			return true;
	}
	return false;
}

static void
parse_or(EbParser *ps, const JsonbContainer *list, uint32 node, EbAnd *and,
		 int or_depth)
{
	EbOr	   *or = palloc0(sizeof(EbOr));
	int			start = ps->nused;
	EbIter		it;
	EbValue		alternative;

	eb_iter_init(&it, list);
	or->node = node;
	or->fields_before = and->nfields;
	or->alternatives = palloc0(it.n * sizeof(EbAnd *));
	while (eb_iter_element(&it, &alternative))
	{
		EbAnd	   *branch = palloc0(sizeof(EbAnd));
		int			own = ps->nused;
		int			mark = eb_parse_push_index(ps, or->nalternatives);

		CHECK_FOR_INTERRUPTS();
		or->alternatives[or->nalternatives++] = branch;
		parse_object(ps, EB_CONTAINER(alternative), node, branch, or_depth + 1);
		eb_parse_pop(ps, mark);
		for (int i = own; i < ps->nused; i++)
			ps->nodes[ps->used[i]].in_use = false;
	}
	for (int i = start; i < ps->nused; i++)
		ps->nodes[ps->used[i]].in_use = true;
	add_or(and, or);
}

/* "$or" must be one thing in all of the pattern. */
static void
check_or_use(EbParser *ps, const EbValue *v, bool as_operator)
{
	if (as_operator ? ps->or_key_seen : ps->or_operator_seen)
		eb_parse_refuse(ps, as_operator ?
						"\"$or\" as an ordinary key, as earlier in the pattern" :
						"\"$or\" as operator, as earlier in the pattern: a list of at least two objects, none of them empty and none with a reserved word as key",
						v, "Use \"$or\" in one pattern either as operator or as the name of a field.");
	if (as_operator)
		ps->or_operator_seen = true;
	else
		ps->or_key_seen = true;
}

/*
 * A scalar stands where an object or a list is expected.  Mostly the list was
 * forgotten; or, if the keys that lead here are operators, as in
 * {"a": {"prefix": "x"}}, the list around the operator.
 */
static void
refuse_scalar(EbParser *ps, const EbValue *key, const EbValue *v, uint32 parent)
{
	StringInfoData hint;
	StringInfoData test;
	uint32		field = parent;

	initStringInfo(&test);
	eb_value_to_json(&test, v, EB_PARSE_FOUND_BYTES);
	initStringInfo(&hint);
	if (is_operator_name(key->ptr, key->len))
	{
		/* the innermost key above that is no operator is the field */
		while (ps->nodes[field].depth > 0 &&
			   is_operator_name(ps->nodes[field].key, ps->nodes[field].keylen))
			field = ps->nodes[field].parent;
	}
	if (is_operator_name(key->ptr, key->len) && ps->nodes[field].depth > 0)
	{
		char	   *inner;

		inner = psprintf("{\"%.*s\": %s}", (int) key->len, key->ptr, test.data);
		for (uint32 n = parent; n != field; n = ps->nodes[n].parent)
			inner = psprintf("{\"%s\": %s}", ps->nodes[n].key, inner);
		appendStringInfoString(&hint, "An operator stands in the list of its field: {");
		eb_string_to_json(&hint, ps->nodes[field].key,
						  Min(ps->nodes[field].keylen, EB_PARSE_FOUND_BYTES));
		appendStringInfo(&hint, ": [%s]}.", inner);
	}
	else
	{
		appendStringInfoString(&hint, "Put the value into a list: {");
		eb_string_to_json(&hint, key->ptr, Min(key->len, EB_PARSE_FOUND_BYTES));
		appendStringInfo(&hint, ": [%s]}.", test.data);
	}
	eb_parse_refuse(ps, "an object or a list of values", v, hint.data);
}

static void
parse_member(EbParser *ps, const EbValue *key, const EbValue *v, uint32 node,
			 EbAnd *and, int or_depth)
{
	bool		is_or = key->len == strlen(OR_KEY) &&
	memcmp(key->ptr, OR_KEY, key->len) == 0;
	bool		saved = ps->or_as_key;
	uint32		parent = node;

	if (is_or)
	{
		bool		as_operator = is_or_operator(v);

		check_or_use(ps, v, as_operator);
		if (as_operator)
		{
			parse_or(ps, EB_CONTAINER(*v), node, and, or_depth);
			return;
		}
		ps->or_as_key = has_other_object(v);
	}
	else if (or_depth > 0 && is_reserved(key->ptr, key->len))
		eb_parse_refuse(ps, "below an alternative of \"$or\" a key that is not a reserved word",
						NULL, "Operators stand in the list of a field, as in {\"$or\": [{\"a\": [{\"prefix\": \"x\"}]}, {\"b\": [1]}]}.");

	node = path_node(ps, node, key->ptr, key->len);
	if (v->type == EB_OBJECT)
		parse_object(ps, EB_CONTAINER(*v), node, and, or_depth);
	else if (v->type == EB_ARRAY)
		parse_field(ps, EB_CONTAINER(*v), node, and);
	else
		refuse_scalar(ps, key, v, parent);
	ps->or_as_key = saved;
}

static void
parse_object(EbParser *ps, const JsonbContainer *object, uint32 node,
			 EbAnd *and, int or_depth)
{
	EbIter		it;
	EbValue		key;
	EbValue		v;

	eb_parse_check_depth(++ps->depth);
	eb_iter_init(&it, object);
	if (it.n == 0)
	{
		EbValue		found = {EB_OBJECT, 0, (const char *) object};

		eb_parse_refuse(ps, "at least one field", &found,
						"Name at least one field, as in {\"source\": [\"shop.orders\"]}.");
	}
	while (eb_iter_pair(&it, &key, &v))
	{
		int			mark = eb_parse_push_key(ps, key.ptr, key.len);

		parse_member(ps, &key, &v, node, and, or_depth);
		eb_parse_pop(ps, mark);
	}
	ps->depth--;
}

/* ---- conjunctions ---- */

/* How many conjunctions a tree expands to; PG_INT64_MAX if that many or more */
static int64
count_conjunctions(const EbAnd *and)
{
	int64		product = 1;

	check_stack_depth();
	for (int i = 0; i < and->nors; i++)
	{
		int64		sum = 0;

		for (int j = 0; j < and->ors[i]->nalternatives; j++)
		{
			if (pg_add_s64_overflow(sum, count_conjunctions(and->ors[i]->alternatives[j]),
									&sum))
				return PG_INT64_MAX;
		}
		if (pg_mul_s64_overflow(product, sum, &product))
			return PG_INT64_MAX;
	}
	return product;
}

/* A list of lists of fields, as the expansion makes them. */
typedef struct Expansion
{
	int			n;
	EbConjunction *list;
} Expansion;

static void
check_field_count(int n)
{
	if (n > EB_PATTERN_MAX_FIELDS)
		refuse_limit("fields that must hold together", EB_PATTERN_MAX_FIELDS,
					 psprintf("%d", n));
}

static Expansion
expand(const EbAnd *and)
{
	Expansion	result;

	CHECK_FOR_INTERRUPTS();
	check_stack_depth();
	check_field_count(and->nfields);
	result.n = 1;
	result.list = palloc(sizeof(EbConjunction));
	result.list[0].nfields = and->nfields;
	result.list[0].fields = and->fields;

	for (int i = 0; i < and->nors; i++)
	{
		EbOr	   *or = and->ors[i];
		Expansion	sum = {0, NULL};
		Expansion	product;

		for (int j = 0; j < or->nalternatives; j++)
		{
			Expansion	e = expand(or->alternatives[j]);

			sum.list = sum.list == NULL ?
				palloc(e.n * sizeof(EbConjunction)) :
				repalloc(sum.list, (sum.n + e.n) * sizeof(EbConjunction));
			memcpy(sum.list + sum.n, e.list, e.n * sizeof(EbConjunction));
			sum.n += e.n;
		}
		product.n = 0;
		product.list = palloc((Size) result.n * sum.n * sizeof(EbConjunction));
		for (int a = 0; a < result.n; a++)
		{
			for (int b = 0; b < sum.n; b++)
			{
				EbConjunction *c = &product.list[product.n++];
				int			na = result.list[a].nfields;
				int			nb = sum.list[b].nfields;

				check_field_count(na + nb);
				c->nfields = na + nb;
				c->fields = palloc((na + nb) * sizeof(EbField *));
				if (na > 0)
					memcpy(c->fields, result.list[a].fields,
						   na * sizeof(EbField *));
				if (nb > 0)
					memcpy(c->fields + na, sum.list[b].fields,
						   nb * sizeof(EbField *));
			}
		}
		result = product;
	}
	return result;
}

/*
 * Compares two paths as text: the keys joined with dots, as bytes.  The keys
 * of both, from the root down, are on hand through the chains of parents.
 */
int
eb_path_cmp_text(const EbPathNode *nodes, uint32 a, uint32 b)
{
	StringInfoData ta;
	StringInfoData tb;
	int			result;

	initStringInfo(&ta);
	initStringInfo(&tb);
	eb_path_to_text(&ta, nodes, a);
	eb_path_to_text(&tb, nodes, b);
	result = memcmp(ta.data, tb.data, Min(ta.len, tb.len));
	if (result == 0)
		result = ta.len - tb.len;
	pfree(ta.data);
	pfree(tb.data);
	return result;
}

void
eb_path_to_text(StringInfo out, const EbPathNode *nodes, uint32 node)
{
	int			end;

	for (uint32 n = node; n != 0; n = nodes[n].parent)
	{
		int			len = (int) nodes[n].keylen + (nodes[n].parent != 0 ? 1 : 0);

		enlargeStringInfo(out, len);
		out->len += len;
	}
	end = out->len;
	for (uint32 n = node; n != 0; n = nodes[n].parent)
	{
		end -= nodes[n].keylen;
		memcpy(out->data + end, nodes[n].key, nodes[n].keylen);
		if (nodes[n].parent != 0)
			out->data[--end] = '.';
	}
	out->data[out->len] = '\0';
}

static int
cmp_rank(const void *a, const void *b, void *arg)
{
	const uint32 *rank = arg;
	uint32		ra = rank[(*(EbField *const *) a)->node];
	uint32		rb = rank[(*(EbField *const *) b)->node];

	return ra < rb ? -1 : ra > rb;
}

typedef struct PathText
{
	uint32		node;
	int			len;
	char	   *text;
} PathText;

static int
cmp_path_text(const void *a, const void *b)
{
	const PathText *pa = a;
	const PathText *pb = b;
	int			result = memcmp(pa->text, pb->text, Min(pa->len, pb->len));

	return result != 0 ? result : pa->len - pb->len;
}

/* The place of each path among all by their texts; equal texts are equal. */
static uint32 *
rank_paths(EbParser *ps)
{
	uint32		n = eb_intern_count(ps->paths);
	uint32	   *rank = palloc0(n * sizeof(uint32));
	PathText   *texts = palloc(n * sizeof(PathText));
	bool	   *is_field = palloc0(n * sizeof(bool));
	uint32		count = 0;
	uint32		next = 0;

	/* only of fields: all prefixes of a deep path would be quadratic */
	for (int i = 0; i < ps->nused; i++)
	{
		StringInfoData text;

		if (is_field[ps->used[i]])
			continue;
		is_field[ps->used[i]] = true;
		initStringInfo(&text);
		eb_path_to_text(&text, ps->nodes, ps->used[i]);
		texts[count].node = ps->used[i];
		texts[count].len = text.len;
		texts[count++].text = text.data;
	}
	qsort(texts, count, sizeof(PathText), cmp_path_text);
	for (uint32 i = 0; i < count; i++)
	{
		if (i > 0 && cmp_path_text(&texts[i - 1], &texts[i]) != 0)
			next++;
		rank[texts[i].node] = next;
	}
	for (uint32 i = 0; i < count; i++)
		pfree(texts[i].text);
	pfree(texts);
	pfree(is_field);
	return rank;
}

static void
make_conjunctions(EbParser *ps, EbPattern *p)
{
	int64		count;
	Expansion	e;
	uint32	   *rank;

	count = count_conjunctions(p->root);
	if (count > EB_PATTERN_MAX_CONJUNCTIONS)
		refuse_limit("combinations of \"$or\" alternatives",
					 EB_PATTERN_MAX_CONJUNCTIONS,
					 psprintf(INT64_FORMAT "%s", count,
							  count == PG_INT64_MAX ? " or more" : ""));
	e = expand(p->root);
	p->nconjunctions = e.n;
	p->conjunctions = e.list;

	rank = rank_paths(ps);
	for (int i = 0; i < e.n; i++)
	{
		EbConjunction *c = &e.list[i];
		int			mixed = 0;

		for (int f = 0; f < c->nfields; f++)
			mixed += c->fields[f]->mixed;
		if (mixed > EB_PATTERN_MAX_MIXED_EXISTS)
			refuse_limit("fields that test {\"exists\": false} beside other tests",
						 EB_PATTERN_MAX_MIXED_EXISTS, psprintf("%d", mixed));
		/* without $or the list of the tree would be sorted: copy it first */
		if (c->fields == p->root->fields)
		{
			c->fields = palloc(c->nfields * sizeof(EbField *));
			memcpy(c->fields, p->root->fields, c->nfields * sizeof(EbField *));
		}
		if (c->nfields > 1)
			qsort_arg(c->fields, c->nfields, sizeof(EbField *), cmp_rank, rank);
	}
	pfree(rank);
}

EbPattern  *
eb_pattern_parse(JsonbContainer *root)
{
	EbParser	ps;
	EbPattern  *p;
	uint32		no_parent = PG_UINT32_MAX;

	if (eb_container_size(root) > EB_PATTERN_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event pattern is too large"),
				 errdetail("The limit is %d bytes as jsonb; the pattern has %zu.",
						   EB_PATTERN_MAX_BYTES, eb_container_size(root))));

	memset(&ps, 0, sizeof(ps));
	initStringInfo(&ps.path);
	initStringInfo(&ps.key);
	appendStringInfoChar(&ps.path, '$');
	ps.paths = eb_intern_create(8);
	ps.maxnodes = 16;
	ps.nodes = palloc0(ps.maxnodes * sizeof(EbPathNode));
	(void) eb_intern(ps.paths, &no_parent, sizeof(no_parent), NULL);
	ps.maxused = 16;
	ps.used = palloc(ps.maxused * sizeof(uint32));

	if (!JsonContainerIsObject(root))
	{
		EbValue		found = {EB_ARRAY, 0, (const char *) root};

		if (JsonContainerIsScalar(root))
		{
			EbIter		it;

			eb_iter_init(&it, root);
			(void) eb_iter_element(&it, &found);
		}
		eb_parse_refuse(&ps, "an object", &found,
						"A pattern is an object that names fields, as in {\"source\": [\"shop.orders\"]}.");
	}

	p = palloc0(sizeof(EbPattern));
	p->root = palloc0(sizeof(EbAnd));
	parse_object(&ps, root, 0, p->root, 0);
	p->nnodes = eb_intern_count(ps.paths);
	p->nodes = ps.nodes;
	make_conjunctions(&ps, p);
	return p;
}
