/*-------------------------------------------------------------------------
 *
 * pattern_int.h
 *	  What the files of src/pattern/ share with each other and nobody else.
 *
 * Three representations follow each other:
 *
 *	 EbPattern		the parsed pattern: a tree of fields and $or, and the
 *					conjunctions it expands to.  Plain pointers.
 *	 EbPatternBuilder	many patterns, every distinct path, test and list of
 *					tests interned once.  Private to pattern_compile.c.
 *	 EbCompiled		the block that eb_pattern_match() reads: arrays addressed
 *					by offsets from the head.
 *
 * The jsonb readers at the top walk containers by their JEntries, so that
 * one pass over an object finds all wanted keys and no value is copied.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EB_PATTERN_INT_H
#define EB_PATTERN_INT_H

#include "lib/stringinfo.h"
#include "pattern/pattern.h"

/* ---- reading jsonb ---- */

typedef enum EbType
{
	EB_NULL,
	EB_TRUE,
	EB_FALSE,
	EB_NUMBER,
	EB_STRING,
	EB_OBJECT,
	EB_ARRAY
} EbType;

#define EB_TYPE_IS_SCALAR(t)	((t) <= EB_STRING)

/* A value inside a jsonb; it points into the document. */
typedef struct EbValue
{
	EbType		type;
	uint32		len;			/* bytes of a string */
	const char *ptr;			/* string bytes, numeric varlena or container */
} EbValue;

#define EB_CONTAINER(v)		((const JsonbContainer *) (v).ptr)

/* Steps through the elements of an array or the pairs of an object. */
typedef struct EbIter
{
	const JEntry *entries;
	const char *base;			/* start of the data that follows the entries */
	uint32		n;				/* elements or pairs */
	uint32		next;
	uint32		offset;			/* where the next key (or element) starts */
	uint32		value_offset;	/* objects: where the next value starts */
} EbIter;

/* Start of child number index, as an offset from the data. */
static inline uint32
eb_child_offset(const JsonbContainer *jc, uint32 index)
{
	uint32		offset = 0;

	while (index-- > 0)
	{
		offset += JBE_OFFLENFLD(jc->children[index]);
		if (JBE_HAS_OFF(jc->children[index]))
			break;
	}
	return offset;
}

static inline uint32
eb_entry_end(JEntry entry, uint32 start)
{
	return JBE_HAS_OFF(entry) ? JBE_OFFLENFLD(entry) :
		start + JBE_OFFLENFLD(entry);
}

static inline void
eb_value_read(JEntry entry, const char *base, uint32 start, uint32 end,
			  EbValue *v)
{
	v->len = 0;
	v->ptr = base;				/* of no meaning but for strings, ... */
	switch (entry & JENTRY_TYPEMASK)
	{
		case JENTRY_ISSTRING:
			v->type = EB_STRING;
			v->ptr = base + start;
			v->len = end - start;
			break;
		case JENTRY_ISNUMERIC:
			v->type = EB_NUMBER;
			v->ptr = base + INTALIGN(start);
			break;
		case JENTRY_ISBOOL_TRUE:
			v->type = EB_TRUE;
			break;
		case JENTRY_ISBOOL_FALSE:
			v->type = EB_FALSE;
			break;
		case JENTRY_ISCONTAINER:
			v->ptr = base + INTALIGN(start);
			v->type = JsonContainerIsObject(EB_CONTAINER(*v)) ?
				EB_OBJECT : EB_ARRAY;
			break;
		default:
			v->type = EB_NULL;
			break;
	}
}

static inline void
eb_iter_init(EbIter *it, const JsonbContainer *jc)
{
	bool		object = JsonContainerIsObject(jc);

	it->entries = jc->children;
	it->n = JsonContainerSize(jc);
	it->base = (const char *) (jc->children + (object ? 2 * it->n : it->n));
	it->next = 0;
	it->offset = 0;
	it->value_offset = object ? eb_child_offset(jc, it->n) : 0;
}

static inline bool
eb_iter_element(EbIter *it, EbValue *v)
{
	JEntry		entry;
	uint32		end;

	if (it->next >= it->n)
		return false;
	entry = it->entries[it->next++];
	end = eb_entry_end(entry, it->offset);
	eb_value_read(entry, it->base, it->offset, end, v);
	it->offset = end;
	return true;
}

static inline bool
eb_iter_pair(EbIter *it, EbValue *key, EbValue *v)
{
	JEntry		entry;
	uint32		end;

	if (it->next >= it->n)
		return false;
	entry = it->entries[it->next];
	end = eb_entry_end(entry, it->offset);
	eb_value_read(entry, it->base, it->offset, end, key);
	it->offset = end;

	entry = it->entries[it->n + it->next];
	end = eb_entry_end(entry, it->value_offset);
	eb_value_read(entry, it->base, it->value_offset, end, v);
	it->value_offset = end;
	it->next++;
	return true;
}

/* The order of keys in a jsonb object: shorter first, then bytes. */
static inline int
eb_key_cmp(const char *a, uint32 alen, const char *b, uint32 blen)
{
	if (alen != blen)
		return alen < blen ? -1 : 1;
	return memcmp(a, b, alen);
}

/* Bytes of a container: where the data of its last child ends. */
static inline Size
eb_container_size(const JsonbContainer *jc)
{
	uint32		n = JsonContainerSize(jc);

	if (JsonContainerIsObject(jc))
		n *= 2;
	return sizeof(JsonbContainer) + n * sizeof(JEntry) + eb_child_offset(jc, n);
}

extern bool eb_object_get(const JsonbContainer *object, const char *key,
						  uint32 keylen, EbValue *v);
extern void eb_value_to_json(StringInfo out, const EbValue *v, int max_bytes);
extern void eb_string_to_json(StringInfo out, const char *s, int len);

/* ---- numbers: pattern_number.c ---- */

/*
 * A decimal number.  key orders like the number; numbers of equal key differ
 * at most from the fourth base-10000 digit on.
 */
typedef struct EbNumber
{
	uint64		key;
	const int16 *digits;		/* base 10000, without zeros at either end */
	int32		ndigits;
	int16		weight;			/* of the first digit */
	bool		negative;
} EbNumber;

extern void eb_number_decode(const char *numeric, EbNumber *n);
extern int	eb_number_cmp_digits(const EbNumber *a, const EbNumber *b);
extern void eb_number_to_text(StringInfo out, const EbNumber *n);

#define EB_NUMBER_KEY_DIGITS	3	/* digits that the key holds entirely */

static inline int
eb_number_cmp(const EbNumber *a, const EbNumber *b)
{
	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	if (a->ndigits <= EB_NUMBER_KEY_DIGITS && b->ndigits <= EB_NUMBER_KEY_DIGITS)
		return 0;
	return eb_number_cmp_digits(a, b);
}

/* ---- addresses: pattern_cidr.c ---- */

typedef struct EbAddress
{
	uint8		family;			/* 4 or 6; 0 = not an address */
	uint8		bits;			/* significant bits of a block */
	uint8		bytes[16];		/* network order, the first 4 for family 4 */
} EbAddress;

#define EB_ADDRESS_BITS(family)	((family) == 4 ? 32 : 128)

typedef enum EbCidrResult
{
	EB_CIDR_OK,
	EB_CIDR_MALFORMED,
	EB_CIDR_TOO_MANY_BITS
} EbCidrResult;

extern bool eb_address_parse(const char *s, uint32 len, EbAddress *address);
extern EbCidrResult eb_cidr_parse(const char *s, uint32 len, EbAddress *block);
extern void eb_address_mask(EbAddress *address, int bits);
extern bool eb_address_in(const EbAddress *address, const EbAddress *block);
extern void eb_address_to_text(StringInfo out, const EbAddress *address);

/* ---- tests ---- */

typedef enum EbTestKind
{
	EB_TEST_NULL,				/* the first five are decided by equality */
	EB_TEST_TRUE,
	EB_TEST_FALSE,
	EB_TEST_NUMBER,
	EB_TEST_STRING,				/* text equality: exactly, plain strings */
	EB_TEST_ADDRESS,			/* plain string that is an address */
	EB_TEST_CIDR,
	EB_TEST_PREFIX,
	EB_TEST_SUFFIX,
	EB_TEST_FOLD,				/* equals-ignore-case */
	EB_TEST_FOLD_PREFIX,
	EB_TEST_FOLD_SUFFIX,
	EB_TEST_WILDCARD,
	EB_TEST_RANGE,
	EB_TEST_BUT,
	EB_TEST_EXISTS,
	EB_TEST_ABSENT				/* exists: false */
} EbTestKind;

#define EB_TEST_IS_EXACT(k)		((k) <= EB_TEST_STRING)

/* bounds of a range */
#define EB_RANGE_LOWER			0x01
#define EB_RANGE_LOWER_OPEN		0x02
#define EB_RANGE_UPPER			0x04
#define EB_RANGE_UPPER_OPEN		0x08

/* A parsed test.  What str holds depends on the kind:
 *	 strings, prefix, suffix: the bytes
 *	 fold kinds: a fold program (pattern_text.c)
 *	 wildcard: segments (pattern_text.c)
 */
typedef struct EbTest
{
	EbTestKind	kind;
	uint8		flags;			/* EB_RANGE_* */
	uint32		len;
	const char *str;
	EbNumber	lower;			/* also the number of EB_TEST_NUMBER */
	EbNumber	upper;
	EbAddress	address;
	int			nsubs;			/* anything-but */
	struct EbTest *subs;
} EbTest;

extern void eb_test_to_json(StringInfo out, const EbTest *test);
extern void eb_tests_to_json(StringInfo out, const EbTest *tests, int ntests);

/* ---- text: pattern_text.c ---- */

extern char *eb_fold_compile(const char *s, uint32 len, bool backwards,
							 uint32 *proglen);
extern void eb_fold_source(StringInfo out, const char *prog, uint32 proglen,
						   bool backwards);
extern bool eb_fold_match(EbTestKind kind, const char *prog, uint32 proglen,
						  const char *s, uint32 len);
extern uint32 eb_fold_ascii_run(const char *prog, uint32 proglen,
								bool backwards, char *run, bool *whole);
extern int	eb_wildcard_compile(const char *s, uint32 len, char **segments,
								uint32 *seglen, int *offset, int *nstars);
extern bool eb_wildcard_match(const char *segments, uint32 seglen,
							  const char *s, uint32 len);
extern bool eb_suffix_match(const char *suffix, uint32 slen, const char *s,
							uint32 len);

/* results of eb_wildcard_compile */
#define EB_WILDCARD_OK			0
#define EB_WILDCARD_TWO_STARS	1
#define EB_WILDCARD_BACKSLASH	2

/*
 * Segments of a wildcard are what stands between its asterisks: one more than
 * there are asterisks, each a uint32 length and its bytes, padded to 4.
 */
static inline const char *
eb_segment_next(const char *p, const char **bytes, uint32 *len)
{
	memcpy(len, p, sizeof(uint32));
	*bytes = p + sizeof(uint32);
	return *bytes + INTALIGN(*len);
}

static inline unsigned char
eb_ascii_lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

/* ---- case folding table: pattern_casefold.c, generated ---- */

typedef struct EbCaseMap
{
	uint32		code;
	uint32		lower[3];		/* full mappings, 0-terminated; all 0 = itself */
	uint32		upper[3];
} EbCaseMap;

extern const EbCaseMap eb_casefold_map[];
extern const int eb_casefold_count;

/* ---- interning: pattern_intern.c ---- */

/*
 * Numbers byte strings 0, 1, 2, ... in the order in which they are first seen.
 */
typedef struct EbIntern EbIntern;

extern EbIntern *eb_intern_create(uint32 size_hint);
extern uint32 eb_intern(EbIntern *t, const void *key, uint32 len, bool *found);
extern uint32 eb_intern_count(const EbIntern *t);
extern const char *eb_intern_key(const EbIntern *t, uint32 id, uint32 *len);

/* ---- the parsed pattern ---- */

/* A path: a node of the pattern's own trie of keys.  Node 0 is the root. */
typedef struct EbPathNode
{
	uint32		parent;
	uint32		keylen;
	const char *key;
	uint32		depth;
	bool		in_use;			/* parser: a field of the current conjunction */
} EbPathNode;

typedef struct EbField
{
	uint32		node;
	bool		absent;			/* has an exists: false */
	bool		mixed;			/* ... beside other tests */
	int			ntests;
	EbTest	   *tests;
} EbField;

typedef struct EbAnd EbAnd;

typedef struct EbOr
{
	uint32		node;			/* the object it stands in */
	int			fields_before;	/* fields of the EbAnd that were read earlier */
	int			nalternatives;
	EbAnd	  **alternatives;
} EbOr;

/* Fields that must hold together, and $ors of which one alternative must. */
struct EbAnd
{
	int			nfields;
	int			maxfields;
	EbField   **fields;
	int			nors;
	int			maxors;
	EbOr	  **ors;
};

typedef struct EbConjunction
{
	int			nfields;
	EbField   **fields;			/* by the text of their paths */
} EbConjunction;

struct EbPattern
{
	uint32		nnodes;
	EbPathNode *nodes;
	EbAnd	   *root;
	int			nconjunctions;
	EbConjunction *conjunctions;
};

extern int	eb_path_cmp_text(const EbPathNode *nodes, uint32 a, uint32 b);
extern void eb_key_to_path(StringInfo out, const char *key, uint32 keylen);
extern void eb_path_to_text(StringInfo out, const EbPathNode *nodes,
							uint32 node);
extern void eb_pattern_to_json(StringInfo out, const EbPattern *pattern);

#endif							/* EB_PATTERN_INT_H */
