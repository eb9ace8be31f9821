/*-------------------------------------------------------------------------
 *
 * shim.c
 *	  All of the server that src/pattern (pattern_sql.c aside) links to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdarg.h>

#include "lib/stringinfo.h"

/* From 17 on the header has some of these inline, or under other names. */
#define utf8_to_unicode header_utf8_to_unicode
#define unicode_to_utf8 header_unicode_to_utf8
#include "mb/pg_wchar.h"
#undef utf8_to_unicode
#undef unicode_to_utf8
extern pg_wchar utf8_to_unicode(const unsigned char *s);
extern unsigned char *unicode_to_utf8(pg_wchar c, unsigned char *s);

#include "miscadmin.h"
#include "utils/memutils.h"

#include "shim.h"

#undef vsnprintf
#undef snprintf
#undef fprintf
#undef printf
#undef qsort
#undef qsort_r

sigjmp_buf *shim_target;
int			shim_sqlstate;
char		shim_message[4096];

volatile sig_atomic_t InterruptPending = false;

/* ---- contexts ---- */

typedef struct Chunk
{
	struct Chunk *prev;
	struct Chunk *next;
	struct Context *context;
	Size		size;
} Chunk;

typedef struct Context
{
	Chunk		head;			/* of the ring of chunks */
	struct Context *parent;
	struct Context *sibling;
	struct Context *children;
} Context;

static Context top;
static long live;

MemoryContext CurrentMemoryContext = (MemoryContext) &top;

static void *
allocate(Context *context, Size size, bool zero)
{
	Chunk	   *c = zero ? calloc(1, sizeof(Chunk) + size) :
		malloc(sizeof(Chunk) + size);

	if (c == NULL)
		abort();
	if (context->head.next == NULL)
		context->head.next = context->head.prev = &context->head;
	c->context = context;
	c->size = size;
	c->prev = &context->head;
	c->next = context->head.next;
	c->next->prev = c;
	context->head.next = c;
	live++;
	return c + 1;
}

static void
release(Chunk *c)
{
	c->prev->next = c->next;
	c->next->prev = c->prev;
	live--;
	free(c);
}

static void
empty(Context *context)
{
	while (context->children)
	{
		Context    *child = context->children;

		context->children = child->sibling;
		empty(child);
		free(child);
	}
	while (context->head.next && context->head.next != &context->head)
		release(context->head.next);
}

void
shim_reset(void)
{
	empty(&top);
	CurrentMemoryContext = (MemoryContext) &top;
}

long
shim_live_chunks(void)
{
	return live;
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name,
							  Size min, Size init, Size max)
{
	Context    *c = calloc(1, sizeof(Context));

	if (c == NULL)
		abort();
	c->parent = (Context *) parent;
	c->sibling = c->parent->children;
	c->parent->children = c;
	return (MemoryContext) c;
}

void
MemoryContextDelete(MemoryContext context)
{
	Context    *c = (Context *) context;
	Context   **link = &c->parent->children;

	while (*link != c)
		link = &(*link)->sibling;
	*link = c->sibling;
	empty(c);
	free(c);
}

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	return allocate((Context *) context, size, false);
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return allocate((Context *) context, size, true);
}

void *
MemoryContextAllocExtended(MemoryContext context, Size size, int flags)
{
	return allocate((Context *) context, size, (flags & MCXT_ALLOC_ZERO) != 0);
}

void *
palloc(Size size)
{
	return MemoryContextAlloc(CurrentMemoryContext, size);
}

void *
palloc0(Size size)
{
	return MemoryContextAllocZero(CurrentMemoryContext, size);
}

void *
palloc_extended(Size size, int flags)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, size, flags);
}

void
pfree(void *pointer)
{
	release((Chunk *) pointer - 1);
}

void *
repalloc(void *pointer, Size size)
{
	Chunk	   *c = (Chunk *) pointer - 1;
	void	   *new = allocate(c->context, size, false);

	memcpy(new, pointer, Min(size, c->size));
	release(c);
	return new;
}

void *
repalloc_huge(void *pointer, Size size)
{
	return repalloc(pointer, size);
}

/* ---- errors ---- */

bool
errstart_cold(int elevel, const char *domain)
{
	shim_sqlstate = 0;
	shim_message[0] = '\0';
	return elevel >= ERROR;
}

bool
errstart(int elevel, const char *domain)
{
	return errstart_cold(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	siglongjmp(*shim_target, 1);
}

EbPattern *
shim_parse_pattern(JsonbContainer *pattern)
{
	sigjmp_buf	refused;
	sigjmp_buf *outer = shim_target;
	EbPattern  *parsed = NULL;

	shim_target = &refused;
	if (sigsetjmp(refused, 0) == 0)
		parsed = eb_pattern_parse(pattern);
	shim_target = outer;
	return parsed;
}

int
errcode(int sqlerrcode)
{
	shim_sqlstate = sqlerrcode;
	return 0;
}

int
errmsg(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vsnprintf(shim_message, sizeof(shim_message), fmt, args);
	va_end(args);
	return 0;
}

int
errmsg_internal(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vsnprintf(shim_message, sizeof(shim_message), fmt, args);
	va_end(args);
	return 0;
}

/* The text is made, so that wrong arguments are found, and dropped. */
static int
ignore(const char *fmt, va_list args)
{
	char		text[512];

	return vsnprintf(text, sizeof(text), fmt, args) < 0;
}

int
errdetail(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	(void) ignore(fmt, args);
	va_end(args);
	return 0;
}

int
errhint(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	(void) ignore(fmt, args);
	va_end(args);
	return 0;
}

#if PG_VERSION_NUM < 160000
void
ExceptionalCondition(const char *condition, const char *error_type,
					 const char *file, int line)
#else
void
ExceptionalCondition(const char *condition, const char *file, int line)
#endif
{
	fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
	abort();
}

void
ProcessInterrupts(void)
{
}

void
check_stack_depth(void)
{
}

/* ---- text ---- */

void
initStringInfo(StringInfo str)
{
	str->maxlen = 64;
	str->data = palloc(str->maxlen);
	resetStringInfo(str);
}

void
resetStringInfo(StringInfo str)
{
	str->data[0] = '\0';
	str->len = 0;
	str->cursor = 0;
}

void
enlargeStringInfo(StringInfo str, int needed)
{
	int			wanted = str->len + needed + 1;

	if (wanted <= str->maxlen)
		return;
	str->maxlen = Max(wanted, str->maxlen * 2);
	str->data = repalloc(str->data, str->maxlen);
}

#if PG_VERSION_NUM < 160000
void
appendBinaryStringInfo(StringInfo str, const char *data, int len)
#else
void
appendBinaryStringInfo(StringInfo str, const void *data, int len)
#endif
{
	enlargeStringInfo(str, len);
	memcpy(str->data + str->len, data, len);
	str->len += len;
	str->data[str->len] = '\0';
}

void
appendStringInfoString(StringInfo str, const char *s)
{
	appendBinaryStringInfo(str, s, (int) strlen(s));
}

void
appendStringInfoChar(StringInfo str, char c)
{
	appendBinaryStringInfo(str, &c, 1);
}

void
appendStringInfo(StringInfo str, const char *fmt,...)
{
	char		text[512];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	appendStringInfoString(str, text);
}

char *
psprintf(const char *fmt,...)
{
	char	   *text = palloc(1024);
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, 1024, fmt, args);
	va_end(args);
	return text;
}

/* The encoding is UTF-8. */
int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

int
pg_database_encoding_max_length(void)
{
	return 4;
}

int
pg_utf_mblen(const unsigned char *s)
{
	if (*s < 0x80)
		return 1;
	if ((*s & 0xe0) == 0xc0)
		return 2;
	if ((*s & 0xf0) == 0xe0)
		return 3;
	return (*s & 0xf8) == 0xf0 ? 4 : 1;
}

int
pg_mblen(const char *s)
{
	return pg_utf_mblen((const unsigned char *) s);
}

int
pg_mbcliplen(const char *s, int len, int limit)
{
	int			n = 0;

	while (n < len)
	{
		int			charlen = pg_mblen(s + n);

		if (n + charlen > limit)
			break;
		n += charlen;
	}
	return n;
}

pg_wchar
utf8_to_unicode(const unsigned char *s)
{
	switch (pg_utf_mblen(s))
	{
		case 1:
			return s[0];
		case 2:
			return (s[0] & 0x1f) << 6 | (s[1] & 0x3f);
		case 3:
			return (s[0] & 0x0f) << 12 | (s[1] & 0x3f) << 6 | (s[2] & 0x3f);
		default:
			return (s[0] & 0x07) << 18 | (s[1] & 0x3f) << 12 |
				(s[2] & 0x3f) << 6 | (s[3] & 0x3f);
	}
}

unsigned char *
unicode_to_utf8(pg_wchar c, unsigned char *s)
{
	if (c < 0x80)
		s[0] = c;
	else if (c < 0x800)
	{
		s[0] = 0xc0 | c >> 6;
		s[1] = 0x80 | (c & 0x3f);
	}
	else if (c < 0x10000)
	{
		s[0] = 0xe0 | c >> 12;
		s[1] = 0x80 | (c >> 6 & 0x3f);
		s[2] = 0x80 | (c & 0x3f);
	}
	else
	{
		s[0] = 0xf0 | c >> 18;
		s[1] = 0x80 | (c >> 12 & 0x3f);
		s[2] = 0x80 | (c >> 6 & 0x3f);
		s[3] = 0x80 | (c & 0x3f);
	}
	return s;
}

char *
pg_server_to_any(const char *s, int len, int encoding)
{
	return unconstify(char *, s);
}

char *
pg_any_to_server(const char *s, int len, int encoding)
{
	return unconstify(char *, s);
}

/* ---- sorting ---- */

void
pg_qsort(void *base, size_t n, size_t size, int (*cmp) (const void *, const void *))
{
	qsort(base, n, size, cmp);
}

void
qsort_arg(void *base, size_t n, size_t size, qsort_arg_comparator cmp, void *arg)
{
	qsort_r(base, n, size, cmp, arg);
}

/* Where the header renames it, the harness still calls it by its old name. */
#ifdef pg_utf_mblen
#undef pg_utf_mblen
extern int	pg_utf_mblen(const unsigned char *s);

int
pg_utf_mblen(const unsigned char *s)
{
	return pg_utf_mblen_private(s);
}
#endif
