/*-------------------------------------------------------------------------
 *
 * pattern_number.c
 *	  Exact decimal order of the numbers in patterns and events.
 *
 * A number of a jsonb is a numeric.  Calling numeric_cmp() for every rule
 * would cost a function call and two unpackings each, and a compiled set
 * cannot hold a Datum; so this file reads the stored form of numeric itself.
 * That form cannot change without breaking pg_upgrade, and the regression
 * test pattern_number compares this file's order with numeric's own.
 *
 * The stored form, after the varlena header: a 16-bit word whose top two
 * bits are 10 for the short form, which keeps sign (0x2000), display scale
 * and a 7-bit signed weight in that word, or 00 / 01 for the sign of the long
 * form, where a 16-bit weight follows.  Then come the base-10000 digits; the
 * first has the place value 10000^weight.  (11 is NaN or infinity, which JSON
 * does not have.)  Trailing zeros of the text form only show in the display
 * scale, so equal numbers have equal sign, weight and digits.
 *
 * The 64-bit key holds sign, weight and the first digits so that comparing
 * keys decides nearly always:
 *
 *	 bit 63		1 for zero and above
 *	 62 .. 47	weight + 32768
 *	 46 .. 33	first digit, 32 .. 19 second, 18 .. 5 third
 *	 4 .. 0		the upper bits of the fourth
 *
 * and everything complemented below zero.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pattern/pattern_int.h"

#define FORM_SHORT			0x8000
#define LONG_NEGATIVE		0x4000
#define SHORT_NEGATIVE		0x2000
#define SHORT_WEIGHT_SIGN	0x0040
#define SHORT_WEIGHT_MASK	0x003F

void
eb_number_decode(const char *numeric, EbNumber *n)
{
	const char *data = VARDATA_ANY(numeric);
	int			nbytes = (int) VARSIZE_ANY_EXHDR(numeric);
	const uint16 *words = (const uint16 *) data;
	uint16		header = words[0];
	const int16 *digits;
	int			ndigits;
	int			weight;
	uint64		key;

	if (header & FORM_SHORT)
	{
		n->negative = (header & SHORT_NEGATIVE) != 0;
		weight = header & SHORT_WEIGHT_MASK;
		if (header & SHORT_WEIGHT_SIGN)
			weight -= SHORT_WEIGHT_MASK + 1;
		digits = (const int16 *) (words + 1);
		ndigits = (nbytes - 2) / 2;
	}
	else
	{
		n->negative = (header & LONG_NEGATIVE) != 0;
		weight = (int16) words[1];
		digits = (const int16 *) (words + 2);
		ndigits = (nbytes - 4) / 2;
	}

	/* numeric strips zeros at both ends; depend on it no more than needed */
	while (ndigits > 0 && digits[0] == 0)
	{
		digits++;
		ndigits--;
		weight--;
	}
	while (ndigits > 0 && digits[ndigits - 1] == 0)
		ndigits--;

	n->digits = digits;
	n->ndigits = ndigits;
	if (ndigits == 0)
	{
		n->negative = false;
		n->weight = 0;
		n->key = UINT64CONST(1) << 63;
		return;
	}
	n->weight = (int16) weight;

	key = (UINT64CONST(1) << 63) |
		((uint64) (weight + 32768) << 47) |
		((uint64) digits[0] << 33);
	if (ndigits > 1)
		key |= (uint64) digits[1] << 19;
	if (ndigits > 2)
		key |= (uint64) digits[2] << 5;
	if (ndigits > 3)
		key |= (uint64) (digits[3] >> 9);
	n->key = n->negative ? ~key : key;
}

/* The rest of eb_number_cmp(): the keys are equal, so sign and weight are. */
int
eb_number_cmp_digits(const EbNumber *a, const EbNumber *b)
{
	int			common = Min(a->ndigits, b->ndigits);
	int			larger = a->negative ? -1 : 1;

	for (int i = 0; i < common; i++)
	{
		if (a->digits[i] != b->digits[i])
			return a->digits[i] > b->digits[i] ? larger : -larger;
	}
	if (a->ndigits == b->ndigits)
		return 0;
	return a->ndigits > b->ndigits ? larger : -larger;
}

/*
 * Appends the shortest text of the number: plain digits, or with an exponent
 * where plain digits would mean more than 20 zeros.
 */
void
eb_number_to_text(StringInfo out, const EbNumber *n)
{
	StringInfoData dec;
	int			point;			/* digits before the decimal point */
	int			len;
	int			skip;

	if (n->ndigits == 0)
	{
		appendStringInfoChar(out, '0');
		return;
	}
	if (n->negative)
		appendStringInfoChar(out, '-');

	initStringInfo(&dec);
	for (int i = 0; i < n->ndigits; i++)
	{
		int			d = n->digits[i];

		appendStringInfoChar(&dec, '0' + d / 1000);
		appendStringInfoChar(&dec, '0' + d / 100 % 10);
		appendStringInfoChar(&dec, '0' + d / 10 % 10);
		appendStringInfoChar(&dec, '0' + d % 10);
	}
	point = (n->weight + 1) * 4;
	len = dec.len;
	while (len > 1 && dec.data[len - 1] == '0')
		len--;
	skip = 0;
	while (dec.data[skip] == '0')
		skip++;
	len -= skip;
	point -= skip;

	if (point > len + 20 || point < -20)
	{
		appendStringInfoChar(out, dec.data[skip]);
		if (len > 1)
		{
			appendStringInfoChar(out, '.');
			appendBinaryStringInfo(out, dec.data + skip + 1, len - 1);
		}
		appendStringInfo(out, "e%d", point - 1);
	}
	else if (point <= 0)
	{
		appendStringInfoString(out, "0.");
		for (int i = point; i < 0; i++)
			appendStringInfoChar(out, '0');
		appendBinaryStringInfo(out, dec.data + skip, len);
	}
	else
	{
		appendBinaryStringInfo(out, dec.data + skip, Min(point, len));
		for (int i = len; i < point; i++)
			appendStringInfoChar(out, '0');
		if (point < len)
		{
			appendStringInfoChar(out, '.');
			appendBinaryStringInfo(out, dec.data + skip + point, len - point);
		}
	}
	pfree(dec.data);
}
