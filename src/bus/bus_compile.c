/*-------------------------------------------------------------------------
 *
 * bus_compile.c
 *	  From the rows of a bus's rules and targets to one relocatable block.
 *
 * Both tables are read in primary key order under one snapshot, so rules and
 * targets merge in one pass, and the block is exactly what its version says.
 * Only enabled rules are in it.  References are collected relative to the
 * strings' area (which starts with a pad, so that 0 means none) and moved to
 * their final place when the sizes of the arrays before it are known.
 *
 * Patterns and transformations were checked when they were put.  A row that
 * somebody else's UPDATE broke raises here, with the rule in the CONTEXT.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "bus/bus_internal.h"
#include "catalog.h"
#include "compat.h"

/* Columns that we read, by position in column arrays. */
enum
{
	RULE_NAME,
	RULE_PATTERN,
	RULE_ENABLED,
	RULE_SINCE_VERSION,
	RULE_COLUMNS
};
static const char *const rule_columns[RULE_COLUMNS] = {"name", "pattern", "enabled", "since_version"};

enum
{
	TARGET_RULE,
	TARGET_NAME,
	TARGET_ID,
	TARGET_KIND,
	TARGET_DESTINATION,
	TARGET_INPUT,
	TARGET_INPUT_PATH,
	TARGET_INPUT_TRANSFORMER,
	TARGET_ON_MISSING,
	TARGET_SOURCE,
	TARGET_DETAIL_TYPE,
	TARGET_SINCE_VERSION,
	TARGET_COLUMNS
};
static const char *const target_columns[TARGET_COLUMNS] = {
	"rule", "name", "target_id", "kind", "destination", "input", "input_path",
	"input_transformer", "on_missing", "bus_source", "bus_detail_type", "since_version"
};

enum
{
	ARCHIVE_BUS,
	ARCHIVE_PATTERN,
	ARCHIVE_CLASS,
	ARCHIVE_ENABLED,
	ARCHIVE_COLUMNS
};
static const char *const archive_columns[ARCHIVE_COLUMNS] = {
	"bus", "pattern", "class", "enabled"
};

typedef struct DestinationKey
{
	int32		kind;
	char		name[NAMEDATALEN];
} DestinationKey;

typedef struct DestinationEntry
{
	DestinationKey key;
	int32		index;
} DestinationEntry;

typedef struct Compiler
{
	const char *bus;
	const char *rule;			/* being compiled, for the error context */
	EbRule	   *rules;
	int			nrules;
	int			rules_room;
	EbRuleTarget *targets;
	int			ntargets;
	int			targets_room;
	EbRuleDestination *destinations;
	int			ndestinations;
	int			destinations_room;
	int16	   *archives;		/* retention classes */
	int			narchives;
	int			archives_room;
	int16		archive_class;
	HTAB	   *destination_index;
	StringInfoData area;		/* strings and transformations */
	EbPatternBuilder *builder;

	/* the merge: one target row ahead */
	EbConfigScan *target_scan;
	int			target_attnos[TARGET_COLUMNS];
	HeapTuple	target;			/* NULL at the end */
} Compiler;

static void
compile_error_context(void *arg)
{
	Compiler   *c = arg;

	if (c->rule)
		errcontext("rule \"%s\" of bus \"%s\"", c->rule, c->bus);
}

static void
find_columns(TupleDesc desc, const char *const *names, int n, int *attnos)
{
	for (int i = 0; i < n; i++)
	{
		attnos[i] = SPI_fnumber(desc, names[i]);
		if (attnos[i] <= 0)
			elog(ERROR, "configuration table has no column \"%s\"", names[i]);
	}
}

static Size
add_string(Compiler *c, const char *string)
{
	Size		offset = c->area.len;

	appendBinaryStringInfo(&c->area, string, strlen(string) + 1);
	return offset;
}

static Size
add_block(Compiler *c, const void *block, Size size)
{
	Size		offset;

	while (c->area.len != (int) MAXALIGN(c->area.len))
		appendStringInfoChar(&c->area, '\0');
	offset = c->area.len;
	appendBinaryStringInfo(&c->area, block, size);
	return offset;
}

/* Text column of the target row, or NULL. */
static char *
target_text(Compiler *c, int column)
{
	bool		isnull;
	Datum		d = heap_getattr(c->target, c->target_attnos[column],
								 eb_config_desc(c->target_scan), &isnull);

	return isnull ? NULL : TextDatumGetCString(d);
}

static Jsonb *
target_jsonb(Compiler *c, int column)
{
	bool		isnull;
	Datum		d = heap_getattr(c->target, c->target_attnos[column],
								 eb_config_desc(c->target_scan), &isnull);

	return isnull ? NULL : DatumGetJsonbP(d);
}

static EbTargetKind
parse_kind(const char *kind)
{
	if (strcmp(kind, "queue") == 0)
		return EB_TARGET_QUEUE;
	if (strcmp(kind, "bus") == 0)
		return EB_TARGET_BUS;
	if (strcmp(kind, "notify") == 0)
		return EB_TARGET_NOTIFY;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("unknown kind of target: \"%s\"", kind),
			 errhint("It may have been made by a newer version of the extension.")));
}

static int32
add_destination(Compiler *c, EbTargetKind kind, const char *name)
{
	DestinationKey key;
	DestinationEntry *entry;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.kind = kind;
	strlcpy(key.name, name, NAMEDATALEN);
	entry = hash_search(c->destination_index, &key, HASH_ENTER, &found);
	if (!found)
	{
		if (c->ndestinations == c->destinations_room)
		{
			c->destinations_room *= 2;
			c->destinations = repalloc_huge(c->destinations, c->destinations_room *
											sizeof(EbRuleDestination));
		}
		entry->index = c->ndestinations;
		c->destinations[c->ndestinations].kind = kind;
		c->destinations[c->ndestinations].name = add_string(c, key.name);
		c->ndestinations++;
	}
	return entry->index;
}

static void
add_target(Compiler *c)
{
	EbRuleTarget *target;
	EbTargetKind kind = parse_kind(target_text(c, TARGET_KIND));
	Jsonb	   *input = target_jsonb(c, TARGET_INPUT);
	char	   *input_path = target_text(c, TARGET_INPUT_PATH);
	Jsonb	   *input_transformer = target_jsonb(c, TARGET_INPUT_TRANSFORMER);
	char	   *source = target_text(c, TARGET_SOURCE);
	char	   *detail_type = target_text(c, TARGET_DETAIL_TYPE);
	bool		isnull;

	if (c->ntargets == c->targets_room)
	{
		c->targets_room *= 2;
		c->targets = repalloc_huge(c->targets,
								   c->targets_room * sizeof(EbRuleTarget));
	}
	target = &c->targets[c->ntargets++];
	memset(target, 0, sizeof(EbRuleTarget));
	target->target_id = DatumGetInt32(heap_getattr(c->target,
												   c->target_attnos[TARGET_ID],
												   eb_config_desc(c->target_scan),
												   &isnull));
	target->since_version = DatumGetInt64(heap_getattr(c->target,
													   c->target_attnos[TARGET_SINCE_VERSION],
													   eb_config_desc(c->target_scan),
													   &isnull));
	target->name = add_string(c, target_text(c, TARGET_NAME));
	target->destination = add_destination(c, kind, target_text(c, TARGET_DESTINATION));
	if (source)
		target->source = add_string(c, source);
	if (detail_type)
		target->detail_type = add_string(c, detail_type);
	if (input || input_path || input_transformer)
	{
		EbOnMissing on_missing =
		eb_transform_on_missing(target_text(c, TARGET_ON_MISSING));
		EbTransform *transform = eb_transform_compile(input, input_path,
													  input_transformer, on_missing,
													  kind == EB_TARGET_BUS);

		target->transform = add_block(c, transform, transform->size);
	}
}

static void
add_rule(Compiler *c, char *name, Jsonb *pattern, int64 since_version)
{
	EbRule	   *rule;

	if (c->nrules == c->rules_room)
	{
		c->rules_room *= 2;
		c->rules = repalloc_huge(c->rules, c->rules_room * sizeof(EbRule));
	}
	rule = &c->rules[c->nrules];
	rule->name = add_string(c, name);
	rule->first_target = c->ntargets;
	rule->since_version = since_version;
	c->rule = name;
	eb_pattern_builder_add(c->builder, eb_pattern_parse(&pattern->root), c->nrules);

	/* targets of rules before this one belong to rules that are not here */
	while (HeapTupleIsValid(c->target))
	{
		int			order = strcmp(target_text(c, TARGET_RULE), name);

		if (order > 0)
			break;
		if (order == 0)
			add_target(c);
		c->target = eb_config_next(c->target_scan);
	}
	c->rule = NULL;
	rule->ntargets = c->ntargets - rule->first_target;
	c->nrules++;
}

static void
read_rules(Compiler *c, Snapshot snapshot)
{
	ScanKeyData key;
	EbConfigScan *scan;
	int			attnos[RULE_COLUMNS];
	HeapTuple	tuple;

	eb_config_key(&key, 1, c->bus);
	c->target_scan = eb_config_open_at(EB_TARGETS, 1, &key, snapshot);
	find_columns(eb_config_desc(c->target_scan), target_columns, TARGET_COLUMNS,
				 c->target_attnos);
	c->target = eb_config_next(c->target_scan);

	scan = eb_config_open_at(EB_RULES, 1, &key, snapshot);
	find_columns(eb_config_desc(scan), rule_columns, RULE_COLUMNS, attnos);
	while (HeapTupleIsValid(tuple = eb_config_next(scan)))
	{
		TupleDesc	desc = eb_config_desc(scan);
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (!DatumGetBool(heap_getattr(tuple, attnos[RULE_ENABLED], desc, &isnull)))
			continue;
		add_rule(c,
				 TextDatumGetCString(heap_getattr(tuple, attnos[RULE_NAME], desc, &isnull)),
				 DatumGetJsonbP(heap_getattr(tuple, attnos[RULE_PATTERN], desc, &isnull)),
				 DatumGetInt64(heap_getattr(tuple, attnos[RULE_SINCE_VERSION], desc, &isnull)));
	}
	eb_config_close(scan);
	eb_config_close(c->target_scan);
}

/*
 * Archives take part in matching after the rules: they have no targets, only
 * the class that their events are filed under at least.
 */
static void
read_archives(Compiler *c, Snapshot snapshot)
{
	EbConfigScan *scan = eb_config_open_at(EB_ARCHIVES, 0, NULL, snapshot);
	int			attnos[ARCHIVE_COLUMNS];
	HeapTuple	tuple;

	find_columns(eb_config_desc(scan), archive_columns, ARCHIVE_COLUMNS, attnos);
	while (HeapTupleIsValid(tuple = eb_config_next(scan)))
	{
		TupleDesc	desc = eb_config_desc(scan);
		bool		isnull;
		int16		class;
		Datum		pattern;

		if (!DatumGetBool(heap_getattr(tuple, attnos[ARCHIVE_ENABLED], desc, &isnull)) ||
			strcmp(TextDatumGetCString(heap_getattr(tuple, attnos[ARCHIVE_BUS], desc, &isnull)),
				   c->bus) != 0)
			continue;
		class = DatumGetInt16(heap_getattr(tuple, attnos[ARCHIVE_CLASS], desc, &isnull));
		pattern = heap_getattr(tuple, attnos[ARCHIVE_PATTERN], desc, &isnull);
		if (isnull)
		{
			c->archive_class = c->archive_class == 0 ? class :
				eb_log_class_longer(c->archive_class, class);
			continue;
		}
		if (c->narchives == c->archives_room)
		{
			c->archives_room *= 2;
			c->archives = repalloc(c->archives, c->archives_room * sizeof(int16));
		}
		eb_pattern_builder_add(c->builder,
							   eb_pattern_parse(&DatumGetJsonbP(pattern)->root),
							   c->nrules + c->narchives);
		c->archives[c->narchives++] = class;
	}
	eb_config_close(scan);
}

/* Lay the parts out one after the other; references become offsets in the block. */
static EbRuleSet *
assemble(Compiler *c, const EbPatternSet *patterns, MemoryContext context)
{
	EbRuleSet  *set;
	Size		rules = MAXALIGN(sizeof(EbRuleSet));
	Size		targets = rules + MAXALIGN(c->nrules * sizeof(EbRule));
	Size		destinations = targets + MAXALIGN(c->ntargets * sizeof(EbRuleTarget));
	Size		counters = destinations +
	MAXALIGN(c->ndestinations * sizeof(EbRuleDestination));
	Size		archives = counters + MAXALIGN(c->nrules * sizeof(EbRuleCounters));
	Size		pattern_set = archives + MAXALIGN(c->narchives * sizeof(int16));
	Size		area = pattern_set + MAXALIGN(patterns->size);
	Size		size = area + MAXALIGN(c->area.len);

	for (int i = 0; i < c->nrules; i++)
		c->rules[i].name += area;
	for (int i = 0; i < c->ntargets; i++)
	{
		EbRuleTarget *target = &c->targets[i];

		target->name += area;
		target->transform += target->transform ? area : 0;
		target->source += target->source ? area : 0;
		target->detail_type += target->detail_type ? area : 0;
	}
	for (int i = 0; i < c->ndestinations; i++)
		c->destinations[i].name += area;

	set = MemoryContextAllocExtended(context, size,
									 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	set->size = size;
	set->nrules = c->nrules;
	set->ntargets = c->ntargets;
	set->ndestinations = c->ndestinations;
	set->rules = rules;
	set->targets = targets;
	set->destinations = destinations;
	set->counters = counters;
	set->narchives = c->narchives;
	set->archive_class = c->archive_class;
	set->archives = archives;
	set->patterns = pattern_set;
	memcpy((char *) set + rules, c->rules, c->nrules * sizeof(EbRule));
	memcpy((char *) set + targets, c->targets, c->ntargets * sizeof(EbRuleTarget));
	memcpy((char *) set + destinations, c->destinations,
		   c->ndestinations * sizeof(EbRuleDestination));
	memcpy((char *) set + archives, c->archives, c->narchives * sizeof(int16));
	memcpy((char *) set + pattern_set, patterns, patterns->size);
	memcpy((char *) set + area, c->area.data, c->area.len);
	return set;
}

EbRuleSet  *
eb_ruleset_compile(const char *bus, int32 bus_id, int64 version, Snapshot snapshot)
{
	Compiler	c = {.bus = bus,.rules_room = 64,.targets_room = 64,.destinations_room = 16,
	.archives_room = 16};
	HASHCTL		ctl = {.keysize = sizeof(DestinationKey),.entrysize = sizeof(DestinationEntry)};
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(old, "pg_eventbus rule compiler",
												  ALLOCSET_DEFAULT_SIZES);
	ErrorContextCallback errcallback;
	EbRuleSet  *set;

	MemoryContextSwitchTo(context);
	c.rules = palloc(c.rules_room * sizeof(EbRule));
	c.targets = palloc(c.targets_room * sizeof(EbRuleTarget));
	c.destinations = palloc(c.destinations_room * sizeof(EbRuleDestination));
	c.archives = palloc(c.archives_room * sizeof(int16));
	ctl.hcxt = context;
	c.destination_index = hash_create("pg_eventbus rule destinations", 64, &ctl,
									  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	initStringInfo(&c.area);
	appendStringInfoSpaces(&c.area, MAXIMUM_ALIGNOF);
	c.builder = eb_pattern_builder_create(64);

	errcallback.callback = compile_error_context;
	errcallback.arg = &c;
	errcallback.previous = error_context_stack;
	error_context_stack = &errcallback;
	read_rules(&c, snapshot);
	read_archives(&c, snapshot);
	error_context_stack = errcallback.previous;

	set = assemble(&c, eb_pattern_builder_finish(c.builder), old);
	set->bus_id = bus_id;
	set->version = version;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return set;
}
